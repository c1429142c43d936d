// Worker threads that use one home beside each other.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import path from 'node:path'
import { test } from 'node:test'
import { tempVolume } from './support.mjs'
import { startWorker } from './worker-support.mjs'

const MIB = 1 << 20

test('four workers use one home at once', async (t) => {
  const { store, files } = await tempVolume(t)
  const workers = [0, 1, 2, 3].map((id) =>
    startWorker(
      store,
      `const { id } = workerData
       const won = []
       for (let n = 0; n < 20; n += 1) {
         const bytes = Buffer.alloc(100_000, id)
         await Promise.all([
           store.createVolume('own-' + id + '-' + n, { labels: { id: '' + id } }),
           store.createVolume('shared-' + n).then(() => won.push(n), (error) => {
             if (!(error instanceof sv.VolumeAlreadyExistsError)) throw error
           }),
           files.write('own-' + id, bytes, { atomic: true }),
           files.write('shared', bytes, { atomic: true }),
           files.mkdir('dir/' + id),
           store.attach('s-' + id, { '/data': sv.Mount.named('v') }).then((held) => held.detach()),
         ])
         const shared = await files.read('shared')
         if (shared.length !== 100_000 || !shared.every((byte) => byte === shared[0])) throw new Error('a mix')
         if (n % 2) await store.removeVolume('own-' + id + '-' + n)
       }
       parentPort.postMessage(won)`,
      { id },
    ),
  )
  const exits = workers.map((worker) => once(worker, 'exit'))
  const won = await Promise.all(workers.map(async (worker) => (await once(worker, 'message'))[0]))
  await Promise.all(exits)
  assert.deepEqual(
    won.flat().sort((a, b) => a - b),
    Array.from({ length: 20 }, (_, n) => n),
  )
  const listed = await store.listVolumes()
  assert.equal(listed.length, 1 + 20 + 4 * 10)
  for (const id of [0, 1, 2, 3]) {
    assert.equal((await store.listVolumes({ labels: { id: `${id}` } })).length, 10)
    assert.ok((await files.read(`own-${id}`)).equals(Buffer.alloc(100_000, id)))
  }
  await store.removeVolume('v')
})

test('of eight workers at one name one wins, whatever they do', async (t) => {
  const { store } = await tempVolume(t)
  const workers = Array.from({ length: 8 }, () =>
    startWorker(
      store,
      `let held
       const obey = {
         create: () => store.createVolume('raced'),
         remove: () => store.removeVolume('raced'),
         attach: async () => { held = await store.attach('s', { '/data': sv.Mount.named('raced') }) },
         detach: async () => { await held?.detach(); held = undefined },
         look: async () => {
           const listed = await store.listVolumes()
           await store.getVolume('raced').catch((error) => { if (error.code !== 'ERR_VOLUME_NOT_FOUND') throw error })
           if (!listed.some(({ name }) => name === 'v')) throw new Error('a volume was not listed')
         },
       }
       parentPort.on('message', (order) => obey[order]().then(
         () => parentPort.postMessage('ok'),
         (error) => parentPort.postMessage(error.code ?? error.stack),
       ))
       parentPort.postMessage('ready')`,
    ),
  )
  t.after(() => Promise.all(workers.map((worker) => worker.terminate())))
  const answers = () => Promise.all(workers.map(async (worker) => (await once(worker, 'message'))[0]))
  assert.ok((await answers()).every((answer) => answer === 'ready'))
  /** Sends each worker its command at once. Returns the counts of the outcomes, keyed by command. */
  const round = async (...orders) => {
    const ended = answers()
    workers.forEach((worker, at) => worker.postMessage(orders[at % orders.length]))
    const counts = {}
    for (const [at, answer] of (await ended).entries()) {
      const key = `${orders[at % orders.length]} ${answer}`
      counts[key] = (counts[key] ?? 0) + 1
    }
    return counts
  }
  const firsts = { removed: 0, attached: 0 }
  for (let n = 0; n < 50; n += 1) {
    assert.deepEqual(await round('create'), { 'create ok': 1, 'create ERR_VOLUME_ALREADY_EXISTS': 7 })
    const { 'look ok': looks, ...rest } = await round('look', 'attach', 'look', 'remove')
    assert.equal(looks, 4)
    const isRemoved = rest['remove ok'] === 1
    firsts[isRemoved ? 'removed' : 'attached'] += 1
    assert.deepEqual(
      rest,
      isRemoved
        ? { 'attach ERR_VOLUME_NOT_FOUND': 2, 'remove ok': 1, 'remove ERR_VOLUME_NOT_FOUND': 1 }
        : { 'attach ok': 2, 'remove ERR_VOLUME_IN_USE': 2 },
    )
    assert.deepEqual(await round('detach'), { 'detach ok': 8 })
    if (!isRemoved) {
      assert.deepEqual(await round('remove'), { 'remove ok': 1, 'remove ERR_VOLUME_NOT_FOUND': 7 })
    }
  }
  t.diagnostic(`first came ${JSON.stringify(firsts)}`)
})

test(
  'writes that wait for that of a worker, which computes without end, are aborted at once',
  { timeout: 120_000 },
  async (t) => {
    const { store, files, root } = await tempVolume(t)
    const computing = new SharedArrayBuffer(4)
    const worker = startWorker(
      store,
      `const { statSync } = require('node:fs')
       const writing = files.write('f', Buffer.alloc(${64 * MIB}, 'w'))
       while (!(statSync(${JSON.stringify(path.join(root, 'f'))}, { throwIfNoEntry: false })?.size > 0))
         await new Promise(setImmediate)
       parentPort.postMessage('writing')
       Atomics.wait(new Int32Array(workerData), 0, 0)
       await writing
       parentPort.postMessage('written')`,
      computing,
    )
    t.after(() => worker.terminate())
    await once(worker, 'message')
    const controller = new AbortController()
    const aborted = [1, 2 * MIB].flatMap((size) =>
      Array.from({ length: 4 }, () => files.write('f', Buffer.alloc(size, 'm'), { signal: controller.signal })),
    )
    const settled = Promise.allSettled(aborted)
    for (let n = 0; n < 50; n += 1) {
      await files.write('other', Buffer.alloc(2 * MIB))
    }
    controller.abort(new Error('enough'))
    assert.deepEqual(
      (await settled).map(({ reason }) => reason?.message),
      aborted.map(() => 'enough'),
    )
    const written = once(worker, 'message')
    Atomics.store(new Int32Array(computing), 0, 1)
    Atomics.notify(new Int32Array(computing), 0)
    await written
    assert.ok((await files.read('f')).equals(Buffer.alloc(64 * MIB, 'w')))
    await files.write('f', 'x')
  },
)
