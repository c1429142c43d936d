// `VolumeStore.check` and warnings of the JavaScript API. The Rust suite checks what is found and repaired.
import assert from 'node:assert/strict'
import { mkdirSync, rmSync, rmdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { CatalogError, InvalidConfigError, VolumeStore, createVolume } from '../index.js'
import { changeCatalog, outputOf, rejects, tempDir, tempStore, useDefaultHome, withoutSqlite } from './support.mjs'

test('problems are reported, and repaired only on request', async (t) => {
  const store = await tempStore(t)
  const { home } = store
  assert.deepEqual(await VolumeStore.check({ home }), [])
  rmdirSync((await store.createVolume('deleted')).path)
  mkdirSync(path.join(home, 'volumes/unknown'))
  const expectedProblems = (repaired) => [
    {
      kind: 'missing-directory',
      volume: 'deleted',
      path: path.join(home, 'volumes/deleted'),
      repaired,
    },
    { kind: 'unknown-directory', volume: 'unknown', path: path.join(home, 'volumes/unknown'), repaired },
  ]
  for (const [options, repaired] of [
    [{}, false],
    [{ repair: false }, false],
    [{ repair: true }, true],
  ]) {
    const problems = await VolumeStore.check({ home, ...options })
    assert.deepEqual(
      problems.map(({ message, ...rest }) => rest),
      expectedProblems(repaired),
    )
    assert.ok(problems.every(({ message, volume }) => message.includes(`"${volume}"`)))
  }
  assert.deepEqual(
    (await store.listVolumes()).map(({ name }) => name),
    ['unknown'],
  )
  assert.deepEqual(await VolumeStore.check({ home }), [])
})

test('a damaged catalog is repaired, and the default home is checked if none is named', async (t) => {
  const home = useDefaultHome(t, path.join(tempDir(t), 'home'))
  assert.deepEqual(await VolumeStore.check(), [])
  await createVolume('data')
  for (const suffix of ['', '-wal', '-shm']) {
    rmSync(path.join(home, `db/volumes.db${suffix}`), { force: true })
  }
  writeFileSync(path.join(home, 'db/volumes.db'), 'no catalog at all '.repeat(100))
  await rejects(VolumeStore.open({ home }), CatalogError, { message: /VolumeStore\.check\(\{ repair: true \}\)/ })
  const [{ kind, repaired }] = await VolumeStore.check({ repair: true })
  assert.deepEqual({ kind, repaired }, { kind: 'catalog-damaged', repaired: true })
  const store = await VolumeStore.open({ home })
  assert.deepEqual(
    (await store.listVolumes()).map(({ name }) => name),
    ['data'],
  )
})

test('an unknown option is refused by name', async (t) => {
  const home = path.join(tempDir(t), 'home')
  await rejects(VolumeStore.check({ home, repair: 'yes' }), InvalidConfigError, { field: 'repair' })
  await rejects(VolumeStore.check({ home, fix: true }), InvalidConfigError, { field: 'fix' })
  await rejects(VolumeStore.check({ home: '' }), InvalidConfigError, { field: 'home' })
})

test('an invalid row is left out with a warning, once', { skip: withoutSqlite() }, async (t) => {
  const store = await tempStore(t)
  await store.createVolume('data')
  changeCatalog(store.home, "INSERT INTO volume (name, kind, labels) VALUES ('../../x', 'dir', '{}')")
  const stdout = await outputOf(
    `const { VolumeStore } = await import(process.env.SV)
     const warnings = []
     process.on('warning', ({ name, message }) => warnings.push(name + ': ' + message))
     const store = await VolumeStore.open()
     for (let round = 0; round < 2; round += 1) {
       console.log((await store.listVolumes()).map(({ name }) => name).join())
     }
     await new Promise(setImmediate)
     console.log(warnings.filter((warning) => warning.startsWith('VolumeCatalogWarning')).join('\\n'))`,
    { env: { MSB_HOME: store.home, NODE_NO_WARNINGS: '1' } },
  )
  assert.match(stdout, /^data\ndata\nVolumeCatalogWarning: The catalog's row of "\.\.\/\.\.\/x" is left out: .*\n$/)
})
