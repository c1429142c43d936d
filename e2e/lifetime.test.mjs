// The lifetime of an attachment: as long as the process that owns it.
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { test } from 'node:test'
import { VolumeInUseError } from '../index.js'
import { openStore } from './support.mjs'

const INDEX = new URL('../index.js', import.meta.url).href

/** Attaches the volume "data" in a Node.js process that then exits without detaching it. */
function attachAndExit(home, options) {
  const program = `
    import { Mount, VolumeStore } from ${JSON.stringify(INDEX)}
    const store = await VolumeStore.open({ home: ${JSON.stringify(home)} })
    const { pid } = await store.attach('sandbox', { '/data': Mount.named('data') }, ${JSON.stringify(options)})
    console.log(pid)`
  const args = ['--input-type=module', '--eval', program]
  const node = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: 180_000 })
  assert.equal(node.status, 0, node.stderr)
  return { pid: node.pid, owner: Number(node.stdout) }
}

test('an attachment for the sandbox’s process outlives the one that attached, and ends with it', async (t) => {
  const store = await openStore(t)
  const volume = await store.createVolume('data')
  const sandbox = spawn('sleep', ['600'])
  const ended = once(sandbox, 'exit')
  t.after(() => sandbox.kill('SIGKILL'))
  assert.equal(attachAndExit(store.home, { pid: sandbox.pid }).owner, sandbox.pid)

  await assert.rejects(volume.remove(), (error) => {
    assert.ok(error instanceof VolumeInUseError)
    assert.deepEqual(error.sandboxes, ['sandbox'])
    return true
  })
  sandbox.kill('SIGKILL')
  await ended
  await volume.remove()
  assert.deepEqual(await store.listVolumes(), [])
})

test('an attachment without a process of its own ends with the process that attached', async (t) => {
  const store = await openStore(t)
  const volume = await store.createVolume('data')
  const { pid, owner } = attachAndExit(store.home, {})
  assert.equal(owner, pid)
  await volume.remove()
  assert.deepEqual(await store.listVolumes(), [])
})
