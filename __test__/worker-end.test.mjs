// Worker threads, each with an environment that may end at any moment.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { test } from 'node:test'
import { Mount, VolumeStore } from '../index.js'
import { leaseFile, withoutLeases } from './lease-support.mjs'
import { lockFile, lockName, runNode, tempDir, tempVolume, turn, withoutFlock } from './support.mjs'
import { sourceOf, startWorker } from './worker-support.mjs'

const MIB = 1 << 20

/**
 * Runs JavaScript in a separate process, where `busyWorkers(count)` returns workers in the middle of operations.
 */
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

/** The endless loop of every worker. */
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

test('a worker that is terminated while it creates and removes leaves no lock', async (t) => {
  const { store } = await tempVolume(t)
  for (let n = 0; n < 20; n += 1) {
    const worker = startWorker(
      store,
      `parentPort.postMessage('busy')
       const no = () => {}
       for (;;) {
         await store.createVolume('left').catch(no)
         const held = await store.attach('s', { '/data': sv.Mount.named('left') }).catch(no)
         await held?.detach()
         await store.removeVolume('left').catch(no)
       }`,
    )
    await once(worker, 'message')
    for (let turns = n * 3; turns > 0; turns -= 1) await new Promise(setImmediate)
    await worker.terminate()
    // An attachment belongs to the process, which goes on. A terminated worker may leave it.
    await store.createVolume('left').catch(({ code }) => assert.equal(code, 'ERR_VOLUME_ALREADY_EXISTS'))
    await store.createVolume(`after-${n}`)
  }
  assert.deepEqual(
    (await VolumeStore.check({ home: store.home })).filter(({ kind }) => kind === 'incomplete-operation'),
    [],
  )
})

test('a worker ends by itself when nothing is pending', async (t) => {
  const { store } = await tempVolume(t)
  const worker = startWorker(store, `await files.write('x', Buffer.alloc(${MIB})); await files.read('x')`)
  assert.deepEqual(await once(worker, 'exit'), [0])
})

test('terminating a worker in the middle of operations, again and again, does no harm', async (t) => {
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
  await files.write('last', Buffer.alloc(MIB))
  const written = () => readdirSync(root).filter((name) => name.startsWith('large-'))
  assert.ok(written().length < queued, `all ${queued} were written`)
  // A write that was interrupted in its data is undone, possibly after the end of the worker.
  const whole = Buffer.alloc(32 * MIB, 1)
  const parts = async () => {
    const contents = written().map(async (name) => readFile(path.join(root, name)).catch(() => whole))
    return (await Promise.all(contents)).filter((content) => !content.equals(whole))
  }
  while ((await parts()).length > 0) {
    await turn()
  }
})

test('case 61: a copy that is under way when its worker is terminated is undone', async (t) => {
  const { store, root } = await tempVolume(t)
  const source = tempDir(t)
  mkdirSync(path.join(source, 'dir'))
  writeFileSync(path.join(source, 'dir', 'file'), 'x')
  const worker = startWorker(
    store,
    `let asked = 0
     const filter = () => {
       if (++asked === 2) {
         parentPort.postMessage('asked')
         Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
       }
       return true
     }
     await files.copyIn(${JSON.stringify(source)}, 'made', { filter })`,
  )
  await once(worker, 'message')
  assert.deepEqual(readdirSync(root), ['made'])
  await worker.terminate()
  // A thread of this process undoes it. A failing test waits for it in vain.
  while (readdirSync(root).length > 0) {
    await turn()
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
  // Another process waits for the lock until its timeout.
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

/** Waits until `isTrue` returns true, else fails with this message. */
async function eventually(isTrue, what) {
  const deadline = performance.now() + 120_000
  while (!(await isTrue())) {
    assert.ok(performance.now() < deadline, what)
    await turn()
  }
}

test('case 61: an attach in flight when its worker is terminated is undone', { skip: withoutFlock }, async (t) => {
  const { store } = await tempVolume(t)
  await store.createVolume('disk', { kind: 'disk', sizeMib: 16 })
  const release = await lockFile(t, path.join(store.home, 'db', 'volumes.db.lock'))
  const worker = startWorker(
    store,
    `for (let n = 0; n < 8; n += 1) store.attach('s-' + n, { '/data': sv.Mount.named('v') })
     store.attach('disk', { '/disk': sv.Mount.named('disk') })
     parentPort.postMessage('attaching')`,
  )
  await once(worker, 'message')
  await worker.terminate()
  await release()
  // These operations wait for the same lock as those.
  for (let n = 0; n < 20; n += 1) {
    await (await store.attach('own', { '/data': Mount.named('v') })).detach()
  }
  await eventually(async () => (await store.attachments()).length === 0, 'an attachment is held')
  await (await store.attach('own', { '/disk': Mount.named('disk') })).detach()
  await store.removeVolume('disk')
  await store.removeVolume('v')
})

test('attachments that a worker has when it is terminated stay, for they belong to the process', async (t) => {
  const { store } = await tempVolume(t)
  const worker = startWorker(
    store,
    `const held = await store.attach('held', { '/data': sv.Mount.named('v') })
     parentPort.postMessage(held.id)
     setInterval(() => held, 1000)`,
  )
  const [id] = await once(worker, 'message')
  await worker.terminate()
  assert.deepEqual((await store.attachments()).map((attachment) => attachment.id), [id])
  await store.detach(id, { force: true })
})

test('case 61: a copy whose filter never answers, for its worker is terminated, is undone', async (t) => {
  const { store, files } = await tempVolume(t)
  const source = path.join(tempDir(t), 'source')
  for (let n = 0; n < 20; n += 1) {
    mkdirSync(path.join(source, `dir-${n}`, 'sub'), { recursive: true })
    writeFileSync(path.join(source, `dir-${n}`, 'sub', 'file'), 'x')
  }
  await files.mkdir('out')
  for (const copy of [
    `files.copyIn(${JSON.stringify(source)}, 'copied', { filter })`,
    `files.copyOut('out', ${JSON.stringify(path.join(source, 'copied'))}, { filter })`,
  ]) {
    await files.copyIn(path.join(source, 'dir-0'), 'out', {})
    const worker = startWorker(
      store,
      `let asked = 0
       const filter = () => {
         if ((asked += 1) === 2) { parentPort.postMessage('asked'); Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0) }
         return true
       }
       await ${copy}`,
    )
    await once(worker, 'message')
    await worker.terminate()
    const isUndone = async () => !(await files.exists('copied')) && !readdirSync(source).includes('copied')
    await eventually(isUndone, `${copy} is left half done`)
  }
})

test('case 61: a copy in the middle of a file, whose worker is terminated, is undone', { skip: withoutLeases }, async (t) => {
  const { store, files, volume } = await tempVolume(t)
  const host = tempDir(t)
  const json = (name) => JSON.stringify(path.join(host, name))
  for (const dir of [path.join(host, 'tree'), path.join(volume.path, 'tree')]) {
    mkdirSync(path.join(dir, 'sub'), { recursive: true })
    writeFileSync(path.join(dir, 'sub', 'file'), 'x')
  }
  for (const [copy, from, to] of [
    [`files.copyIn(${json('tree')}, 'copied')`, host, volume.path],
    [`files.copyOut('tree', ${json('copied')})`, volume.path, host],
    [`files.copy('tree', 'copied')`, volume.path, volume.path],
  ]) {
    // The holder of the lease makes the copy wait.
    const { asked, release } = await leaseFile(t, path.join(from, 'tree', 'sub', 'file'))
    const worker = startWorker(store, `await ${copy}`)
    await asked
    assert.ok(readdirSync(to).includes('copied'))
    await worker.terminate()
    await eventually(async () => !readdirSync(to).includes('copied'), `${copy} goes on`)
    await release()
  }
  await files.copy('tree', 'copied')
})

test('the memory of large writes that a worker does not wait for is given back when it ends', async (t) => {
  const { store } = await tempVolume(t)
  const before = process.memoryUsage().rss
  const [rounds, writes] = [8, 4]
  for (let round = 0; round < rounds; round += 1) {
    const worker = startWorker(
      store,
      `const large = Buffer.alloc(64 << 20)
       for (let n = 0; n < ${writes}; n += 1) files.append('f-' + n, large)
       process.exit()`,
    )
    await once(worker, 'exit')
  }
  // Their jobs end on threads of this process.
  const left = () => process.memoryUsage().rss - before
  await eventually(() => left() < 256 * MIB, 'memory stays in use')
})
