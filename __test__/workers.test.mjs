// Worker threads, each with an environment of its own that may end at any moment.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { test } from 'node:test'
import { Worker } from 'node:worker_threads'
import { indexPath, lockName, runNode, tempVolume, withoutFlock } from './support.mjs'

const MIB = 1 << 20

/** JavaScript for a worker that has `sv`, a `store` and the files of volume `v` at hand. */
const sourceOf = (store, source) =>
  `const { parentPort, workerData } = require('node:worker_threads')
   const sv = require(${JSON.stringify(indexPath)})
   const main = async () => {
     const store = await sv.VolumeStore.open({ home: ${JSON.stringify(store.home)}, durability: 'fast' })
     const files = (await store.getVolume('v')).fs()
     ${source}
   }
   main()`

const startWorker = (store, source, workerData) =>
  new Worker(sourceOf(store, source), { eval: true, workerData })

/** Runs JavaScript in a process of its own, where `busyWorkers(count)` gives workers that are in the middle of it. */
const runWithBusyWorkers = (store, source) =>
  runNode(
    `const { Worker } = await import('node:worker_threads')
     const { once } = await import('node:events')
     const busyWorkers = async (count) => {
       const start = () => new Worker(process.env.SOURCE, { eval: true, execArgv: [] })
       const workers = Array.from({ length: count }, start)
       await Promise.all(workers.map((worker) => once(worker, 'message')))
       return workers
     }
     ${source}`,
    { env: { SOURCE: sourceOf(store, BUSY) } },
  )

/** What every worker here does without end. */
const BUSY = `
  const large = Buffer.alloc(64 * ${MIB}, 1)
  const text = 'x'.repeat(${MIB})
  const no = () => {}
  for (let n = 0; ; n += 1) {
    const { signal } = new AbortController()
    files.write('large', large).catch(no)
    files.write('large-' + n % 3, large.subarray(0, 4 * ${MIB}), { atomic: true, signal }).catch(no)
    files.read('large').catch(no)
    files.readString('text').catch(no)
    files.write('text', text).catch(no)
    files.read('missing').catch(no)
    store.listVolumes().catch(no)
    store.attach('s', { '/data': sv.Mount.named('v') }).then((held) => held.detach()).catch(no)
    await files.writeString('small-' + n % 7, 'x', { signal }).catch(no)
    if (n === 3) parentPort.postMessage('busy')
    if (n >= 3) await new Promise((resolve) => setTimeout(resolve, 1))
  }`

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

test('a worker ends by itself when nothing is pending', async (t) => {
  const { store } = await tempVolume(t)
  const worker = startWorker(store, `await files.write('x', Buffer.alloc(${MIB})); await files.read('x')`)
  assert.deepEqual(await once(worker, 'exit'), [0])
})

test('a worker that is terminated in the middle of operations, again and again, harms nobody', async (t) => {
  const { store, files } = await tempVolume(t)
  const { code, signal, stdout, stderr } = await runWithBusyWorkers(
    store,
    `for (let round = 0; round < 30; round += 1) {
       const workers = await busyWorkers(1 + round % 2)
       for (let turns = round * 7 % 40; turns > 0; turns -= 1) await new Promise(setImmediate)
       await Promise.all(workers.map((worker) => worker.terminate()))
     }
     console.log('survived')`,
  )
  assert.deepEqual(
    { code, signal, stdout, stderr },
    { code: 0, signal: null, stdout: 'survived\n', stderr: '' },
  )
  await files.writeString('small-0', 'still there')
  assert.equal(await files.readString('small-0'), 'still there')
  assert.deepEqual(
    (await store.listVolumes()).map(({ name }) => name),
    ['v'],
  )
})

test('process.exit while workers are busy gives its code', async (t) => {
  const { store } = await tempVolume(t)
  for (let round = 0; round < 5; round += 1) {
    const { code, signal, stderr } = await runWithBusyWorkers(store, 'await busyWorkers(2); process.exit(7)')
    assert.deepEqual({ code, signal, stderr }, { code: 7, signal: null, stderr: '' }, `round ${round}`)
  }
})

test('a worker ends without waiting for what it has queued, which is dropped', async (t) => {
  const { store, files, root } = await tempVolume(t)
  const queued = 100
  const worker = startWorker(
    store,
    `const large = Buffer.alloc(32 * ${MIB}, 1)
     for (let n = 0; n < ${queued}; n += 1) {
       files.write('large-' + n, large)
       files.read('missing-' + n).catch(() => {})
     }
     await files.read('missing').catch(() => {})
     parentPort.postMessage('queued')`,
  )
  await once(worker, 'message')
  await worker.terminate()
  // Behind whatever may still be there.
  await files.write('last', Buffer.alloc(MIB))
  const written = readdirSync(root).filter((name) => name.startsWith('large-'))
  assert.ok(written.length < queued, `all ${queued} were written`)
  // What was begun is whole: its memory was not freed under it.
  for (const name of written) {
    assert.ok((await files.read(name)).equals(Buffer.alloc(32 * MIB, 1)), name)
  }
})

test('a worker ends without waiting for a lock', { skip: withoutFlock }, async (t) => {
  const { store } = await tempVolume(t)
  const release = await lockName(t, store, 'locked')
  const worker = startWorker(
    store,
    `for (let n = 0; n < 64; n += 1) store.createVolume('locked')
     parentPort.postMessage('waiting')`,
  )
  await once(worker, 'message')
  // Another process waits for the lock as long as anybody does.
  const bound = runNode(
    `const { VolumeStore } = await import(process.env.SV)
     await (await VolumeStore.open()).createVolume('locked').catch((error) => console.log(error.code))`,
    { env: { MSB_HOME: store.home } },
  )
  const ended = worker.terminate().then(() => 'ended')
  assert.equal(await Promise.race([ended, bound.then(({ stdout }) => stdout)]), 'ended')
  await release()
  await bound
})
