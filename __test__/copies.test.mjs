// Two copies of the package in one process, as npm installs them for two dependents.
import assert from 'node:assert/strict'
import { cpSync, readdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import test from 'node:test'
import { fileURLToPath } from 'node:url'
import { VolumeStore } from '../index.js'
import { tempDir } from './support.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))

/** Loads a copy of the package, with its own addon and so its own SQLite. */
function loadCopy(directory) {
  const addon = readdirSync(root).filter((name) => name.endsWith('.node'))
  for (const name of ['index.js', 'native.js', 'package.json', 'lib', ...addon]) {
    cpSync(path.join(root, name), path.join(directory, name), { recursive: true })
  }
  return createRequire(path.join(directory, 'x'))('./index.js')
}

test('two copies of the addon in one process share a home and lose nothing', async (t) => {
  const home = tempDir(t)
  const copy = loadCopy(tempDir(t))
  assert.notEqual(copy.VolumeStore, VolumeStore)
  const stores = [await VolumeStore.open({ home }), await copy.VolumeStore.open({ home })]
  const rounds = 60
  const loops = [0, 1, 2, 3].map(async (loop) => {
    const store = stores[loop % 2]
    for (let round = 0; round < rounds; round++) {
      await store.createVolume(`kept-${loop}-${round}`)
      const passing = await store.createVolume(`passing-${loop}`)
      await passing.remove()
    }
  })
  await Promise.all(loops)
  for (const store of [...stores, await VolumeStore.open({ home })]) {
    assert.equal((await store.listVolumes()).length, 4 * rounds)
  }
})

test('opening one home again and again takes no more descriptors', async (t) => {
  const home = tempDir(t)
  const first = await VolumeStore.open({ home })
  const held = () => readdirSync('/proc/self/fd').length
  const before = held()
  const others = await Promise.all(Array.from({ length: 50 }, () => VolumeStore.open({ home })))
  assert.ok(held() <= before + 5, `${held() - before} more for ${others.length} stores`)
  await first.createVolume('v')
  assert.equal((await others[49].listVolumes()).length, 1)
})
