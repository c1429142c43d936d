// Leftovers of a process that was killed while it created or removed a volume. A store that is open already finds
// them.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { Mount, VolumeAlreadyExistsError, VolumeNotFoundError } from '../index.js'
import { changeCatalog, indexPath, tempStore, withoutSqlite } from './support.mjs'

/** Creates and removes volumes with new names until it is killed. */
const worker = `
const { VolumeStore } = require(process.env.SV)
VolumeStore.open({ home: process.env.HOME_OF_STORE, durability: 'fast' }).then(async (store) => {
  for (let round = 0; ; round += 1) {
    const volume = await store.createVolume('v-' + round)
    await volume.fs().writeString('file', 'content')
    await volume.remove()
  }
})`

/**
 * Locks the catalog for writing as soon as there is an intent of that kind, and prints the name of the volume. The
 * owner of the intent can then neither complete nor start anything. Keeps the lock until standard input ends.
 */
const holder = `import sqlite3, sys
catalog = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
while True:
    catalog.execute('BEGIN IMMEDIATE')
    found = catalog.execute('SELECT name FROM intent JOIN volume ON volume.id = volume_id WHERE action = ?',
                            (sys.argv[2],)).fetchone()
    if found: break
    catalog.execute('ROLLBACK')
print(found[0], flush=True)
sys.stdin.read()`

/** Kills a process in the middle of `create` or `remove`. Returns the name of the volume. */
async function abandon(t, home, action) {
  const env = { ...process.env, NODE_TEST_CONTEXT: undefined, SV: indexPath, HOME_OF_STORE: home }
  const working = spawn(process.execPath, ['-e', worker], { env, stdio: ['ignore', 'ignore', 'inherit'] })
  t.after(() => working.kill('SIGKILL'))
  const killed = once(working, 'exit')
  const database = path.join(home, 'db', 'volumes.db')
  const holding = spawn('python3', ['-c', holder, database, action], { stdio: ['pipe', 'pipe', 'inherit'] })
  t.after(() => holding.kill('SIGKILL'))
  const released = once(holding, 'exit')
  const [name] = await once(createInterface(holding.stdout), 'line')
  working.kill('SIGKILL')
  await killed
  holding.stdin.end()
  await released
  return name
}

const intents = (home) => Number(changeCatalog(home, 'SELECT count(*) FROM intent'))

/** Returns whether a call resolves. Allows only errors of `Class`. */
const resolves = (promise, Class) =>
  promise.then(
    () => true,
    (error) => assert.ok(error instanceof Class, error) ?? false,
  )

/** Calls that resolve the intent of a name. Each returns whether the volume exists afterwards. */
const meetings = {
  getVolume: (store, name) => resolves(store.getVolume(name), VolumeNotFoundError),
  removeVolume: async (store, name) => {
    await resolves(store.removeVolume(name), VolumeNotFoundError)
    return false
  },
  attach: async (store, name) => {
    const attaching = store.attach('s', { '/data': Mount.named(name) })
    return resolves(attaching.then((attachment) => attachment.detach()), VolumeNotFoundError)
  },
  createVolume: async (store, name) => {
    await resolves(store.createVolume(name), VolumeAlreadyExistsError)
    return true
  },
  'attach with a volume to be made': async (store, name) => {
    const attachment = await store.attach('s', { '/data': Mount.namedWith(name, {}, { mode: 'ensure-exists' }) })
    await attachment.detach()
    return true
  },
}

const skip = withoutSqlite()

for (const action of ['create', 'remove']) {
  for (const [what, meet] of Object.entries(meetings)) {
    const title = `case 57: ${what} settles what a process left that was killed at a ${action}`
    test(title, { timeout: 120_000, skip }, async (t) => {
      const store = await tempStore(t)
      const name = await abandon(t, store.home, action)
      assert.equal(intents(store.home), 1)
      const isThere = await meet(store, name)
      assert.equal(intents(store.home), 0)
      // The operation is complete or undone, and all calls agree: a removal is completed, a creation completed or
      // undone.
      if (action === 'remove') assert.equal(isThere, ['createVolume', 'attach with a volume to be made'].includes(what))
      const volumes = path.join(store.home, 'volumes')
      assert.equal(existsSync(path.join(volumes, name)), isThere)
      assert.deepEqual(['.staging', '.trash'].flatMap((dir) => readdirSync(path.join(volumes, dir))), [])
      assert.deepEqual((await store.listVolumes()).map((volume) => volume.name), isThere ? [name] : [])
      assert.equal(await resolves(store.createVolume(name), VolumeAlreadyExistsError), !isThere)
      const files = (await store.getVolume(name)).fs()
      assert.deepEqual(await files.list(''), [])
      await files.writeString('file', 'new')
      await store.removeVolume(name)
    })
  }
}
