// How streams end, also early: what they keep open until then, and what they leave.
import assert from 'node:assert/strict'
import { getEventListeners, once } from 'node:events'
import { statSync } from 'node:fs'
import { buffer, text } from 'node:stream/consumers'
import { finished, pipeline } from 'node:stream/promises'
import { test } from 'node:test'
import { Worker } from 'node:worker_threads'
import { QuotaExceededError, VolumeNotFoundError } from '../index.js'
import { NativeReader, NativeWriter, failureOf, openBelow, outcomes, outstanding, pattern, staged } from './stream-support.mjs'
import { indexPath, lockName, outputOf, rejects, shownOnce, tempVolume, turn, withoutFlock } from './support.mjs'

const MIB = 1 << 20

test('an abort is an AbortError with the reason as its cause, at every stage', async (t) => {
  const { store, files } = await tempVolume(t)
  await files.write('x', pattern(MIB))
  const before = openBelow(store)
  const makers = {
    readStream: (signal) => files.readStream('x', { signal, highWaterMark: 4096 }),
    writeStream: (signal) => files.writeStream('y', { signal }),
    'writeStream atomic': (signal) => files.writeStream('x', { signal, atomic: true }),
  }
  for (const [name, make] of Object.entries(makers)) {
    for (const reason of [{ mine: true }, 'mine', null, new Error('mine')]) {
      const aborted = make(AbortSignal.abort(reason))
      const error = await failureOf(aborted)
      assert.deepEqual([error.name, error.code, error.cause], ['AbortError', 'ABORT_ERR', reason], name)
      for (const turns of [0, 1, 2, 5, 10]) {
        const controller = new AbortController()
        const stream = make(controller.signal)
        const failure = failureOf(stream)
        if (stream.write) {
          for (let written = 0; written < 50; written += 1) stream.write(Buffer.alloc(50_000))
        } else {
          stream.on('data', () => {})
          stream.pause()
          stream.read()
        }
        for (let index = 0; index < turns; index += 1) {
          await turn()
        }
        controller.abort(reason)
        assert.equal((await failure).cause, reason, `${name} after ${turns} turns`)
        assert.equal(getEventListeners(controller.signal, 'abort').length, 0)
      }
    }
  }
  assert.deepEqual(openBelow(store), before)
  assert.deepEqual(staged(store), [])
  assert.ok((await files.read('x')).equals(pattern(MIB)))
})

test('an aborted signal opens nothing', async (t) => {
  const { files } = await tempVolume(t)
  const opens = [NativeReader, NativeWriter].map((Class) => outstanding(t, Class, 'open'))
  await failureOf(files.readStream('x', { signal: AbortSignal.abort() }))
  await failureOf(files.writeStream('x', { signal: AbortSignal.abort() }))
  assert.deepEqual(opens.map(({ calls }) => calls), [0, 0])
  assert.equal(await files.exists('x'), false)
})

test('many streams share a signal without a warning, and leave no listener', async (t) => {
  const { files } = await tempVolume(t)
  await files.writeString('x', 'content')
  const { signal } = new AbortController()
  const warnings = []
  const warned = (warning) => warnings.push(warning)
  process.on('warning', warned)
  t.after(() => process.off('warning', warned))
  const streams = Array.from({ length: 30 }, () => files.readStream('x', { signal }))
  assert.equal(getEventListeners(signal, 'abort').length, 1)
  assert.deepEqual(new Set(await Promise.all(streams.map(text))), new Set(['content']))
  await turn()
  assert.equal(getEventListeners(signal, 'abort').length, 0)
  assert.deepEqual(warnings, [])
})

test('a stream that is destroyed at any time closes its file, and an atomic one leaves the old content', async (t) => {
  const { store, files } = await tempVolume(t)
  const old = pattern(300_000)
  await files.write('x', old)
  const before = openBelow(store)
  let [completed, undone] = [0, 0]
  for (let round = 0; round < 60; round += 1) {
    const reading = files.readStream('x', { highWaterMark: 10_000 })
    reading.on('data', () => {})
    const atomic = files.writeStream('x', { atomic: true })
    const plain = files.writeStream('y')
    for (const stream of [atomic, plain]) {
      stream.write(Buffer.alloc(100_000))
      stream.end(Buffer.alloc(100_000))
    }
    for (let turns = round % 30; turns > 0; turns -= 1) {
      await turn()
    }
    const streams = [reading, atomic, plain]
    const closed = streams.filter((stream) => !stream.closed).map((stream) => once(stream, 'close'))
    streams.forEach((stream) => stream.destroy())
    await Promise.all(closed)
    assert.deepEqual(openBelow(store), before, `round ${round}`)
    assert.deepEqual(staged(store), [])
    const now = await files.read('x')
    const isOld = now.equals(old)
    assert.ok(isOld || now.equals(Buffer.alloc(200_000)), `round ${round}: a mix`)
    assert.ok(isOld || !atomic.writableFinished || now.length === 200_000)
    assert.ok(!(isOld && atomic.writableFinished), 'it finished, and the content is old')
    isOld ? (undone += 1) : (completed += 1)
    await files.write('x', old)
  }
  t.diagnostic(`${undone} undone, ${completed} completed`)
  assert.ok(undone > 0)
})

test('what is written before a plain stream is destroyed stays; an atomic one that fails leaves nothing', async (t) => {
  const { store, files } = await tempVolume(t)
  for (const atomic of [false, true]) {
    await files.writeString('x', 'old')
    await assert.rejects(
      pipeline(async function* () {
        yield 'begun'
        while (!atomic && (await files.readString('x')) !== 'begun') {
          await turn()
        }
        throw new Error('mine')
      }, files.writeStream('x', { atomic })),
      { message: 'mine' },
    )
    assert.equal(await files.readString('x'), atomic ? 'old' : 'begun')
  }
  assert.deepEqual(staged(store), [])
})

test('streams that are garbage give their descriptors and temporary files back', async (t) => {
  const { store, files } = await tempVolume(t)
  await files.write('x', pattern(100_000))
  const output = await outputOf(
    `import fs from 'node:fs'
     const { VolumeStore } = await import(process.env.SV)
     const files = (await (await VolumeStore.open()).getVolume('v')).fs()
     const open = () => fs.readdirSync('/proc/self/fd').length
     const staged = () => fs.readdirSync(process.env.MSB_HOME + '/volumes/.staging').length
     await files.read('x')
     let kept = []
     const leave = async () => {
       const reading = files.readStream('x', { highWaterMark: 1000 })
       reading.once('readable', () => {})
       const writing = files.writeStream('x', { atomic: true })
       await new Promise((resolve) => writing.write('begun', resolve))
       kept.push(reading, writing)
     }
     const before = open()
     for (let n = 0; n < 20; n += 1) await leave()
     const held = { descriptors: open() - before, staged: staged() }
     kept = []
     const deadline = Date.now() + 120_000
     while ((open() > before || staged() > 0) && Date.now() < deadline) {
       gc()
       await new Promise((resolve) => setTimeout(resolve, 5))
     }
     console.log(JSON.stringify({ held, left: { descriptors: open() - before, staged: staged() } }))`,
    { env: { MSB_HOME: store.home }, args: ['--expose-gc'] },
  )
  const { held, left } = JSON.parse(output)
  assert.ok(held.descriptors >= 40 && held.staged === 20, output)
  assert.ok(left.descriptors <= 0 && left.staged === 0, output)
})

test('case 45: a stream over the quota fails, and an atomic one changes nothing', async (t) => {
  const { store, files } = await tempVolume(t, { quotaMib: 1 })
  await files.writeString('x', 'old')
  const chunks = (count) => Array.from({ length: count }, () => Buffer.alloc(100_000, 1))
  await rejects(pipeline(chunks(20), files.writeStream('x', { atomic: true })), QuotaExceededError, {
    path: 'x',
    volume: 'v',
  })
  assert.equal(await files.readString('x'), 'old')
  assert.deepEqual(staged(store), [])
  await rejects(pipeline(chunks(20), files.writeStream('y')), QuotaExceededError)
  const { length } = await files.read('y')
  assert.ok(length > 0 && length % 100_000 === 0 && length < MIB, `${length} bytes stay`)
  await files.remove('y')
  await pipeline(chunks(9), files.writeStream('y'))
  await rejects(pipeline(chunks(9), files.writeStream('y', { append: true })), QuotaExceededError)
  await pipeline(chunks(9), files.writeStream('y'))
  assert.equal((await files.read('y')).length, 900_000)
})

test('two streams into a volume with a quota alternate, chunk by chunk', async (t) => {
  const { files } = await tempVolume(t, { quotaMib: 8 })
  const streams = ['x', 'y'].map((name) => files.writeStream(name))
  for (let round = 0; round < 10; round += 1) {
    for (const stream of streams) {
      await new Promise((resolve, reject) =>
        stream.write(Buffer.alloc(100_000), (error) => (error ? reject(error) : resolve())),
      )
    }
  }
  await Promise.all(streams.map((stream) => finished(stream.end())))
  assert.deepEqual([(await files.read('x')).length, (await files.read('y')).length], [MIB - 48576, MIB - 48576])
})

test(
  'a stream that waits for another process to write the volume is destroyed at once',
  { skip: withoutFlock },
  async (t) => {
    const { store, files } = await tempVolume(t, { quotaMib: 1 })
    const writes = outcomes(t, NativeWriter, 'write')
    await shownOnce(async () => {
      const stream = files.writeStream('x')
      await new Promise((resolve) => stream.write('begun', resolve))
      const release = await lockName(t, store, 'v~quota')
      stream.write('waits')
      await turn()
      await once(stream.destroy(), 'close')
      await release()
      assert.equal(await files.readString('x'), 'begun')
      return writes.at(-1).error.code === 'ERR_ABORTED'
    }, 'the stream closed only once its write gave up')
  },
)

test('case 20: a stream in a removed volume reads on, and does not finish writing', async (t) => {
  const { store, volume, files, root } = await tempVolume(t)
  await files.write('x', pattern(100_000))
  const reading = files.readStream('x', { highWaterMark: 1000 })
  await once(reading, 'readable')
  const writing = ['a', 'b'].map((name, index) => files.writeStream(name, { atomic: index === 1 }))
  await Promise.all(writing.map((stream) => new Promise((resolve) => stream.write('x', resolve))))
  await volume.remove()
  assert.ok((await buffer(reading)).equals(pattern(100_000)))
  for (const stream of writing) {
    const failure = failureOf(stream)
    stream.end()
    assert.ok((await failure) instanceof VolumeNotFoundError)
  }
  assert.throws(() => statSync(root), { code: 'ENOENT' })
  assert.deepEqual(staged(store), [])
})

test('a disk volume has no files to stream', async (t) => {
  const { store } = await tempVolume(t)
  const files = (await store.createVolume('disk', { kind: 'disk', sizeMib: 8 })).fs()
  assert.equal((await failureOf(files.readStream('x'))).field, 'kind')
  assert.equal((await failureOf(files.writeStream('disk.raw'))).field, 'kind')
})

test('what a listener throws is an uncaught exception', async (t) => {
  const { store, files } = await tempVolume(t)
  await files.writeString('x', 'content')
  const output = await outputOf(
    `const { VolumeStore } = await import(process.env.SV)
     const files = (await (await VolumeStore.open()).getVolume('v')).fs()
     process.on('uncaughtException', (error, origin) => console.log(error.message, origin))
     files.readStream('x').on('data', () => { throw new Error('mine') })`,
    { env: { MSB_HOME: store.home } },
  )
  assert.equal(output, 'mine uncaughtException\n')
})

test('an unfinished stream keeps no process alive, and what it left is cleared', async (t) => {
  const { store, files } = await tempVolume(t)
  await files.write('x', pattern(100_000))
  const source = (end) =>
    `const { VolumeStore } = await import(process.env.SV)
     const files = (await (await VolumeStore.open()).getVolume('v')).fs()
     globalThis.kept = [files.readStream('x', { highWaterMark: 1000 }), files.writeStream('x', { atomic: true })]
     kept[0].once('readable', () => {})
     kept[1].write('begun', () => { console.log('begun'); ${end} })`
  for (const end of ['', 'process.exit(0)']) {
    assert.equal(await outputOf(source(end), { env: { MSB_HOME: store.home } }), 'begun\n')
  }
  assert.ok((await files.read('x')).equals(pattern(100_000)))
  await outputOf(`await (await import(process.env.SV)).VolumeStore.open()`, { env: { MSB_HOME: store.home } })
  await outputOf(`await (await import(process.env.SV)).listVolumes()`, { env: { MSB_HOME: store.home } })
  assert.deepEqual(staged(store), [])
})

test('streams work in a worker, also one that is terminated in their middle', async (t) => {
  const { store, files } = await tempVolume(t)
  await files.write('x', pattern(MIB))
  const worker = (source) =>
    new Worker(
      `const { parentPort } = require('node:worker_threads')
       const { pipeline } = require('node:stream/promises')
       const { VolumeStore } = require(${JSON.stringify(indexPath)})
       const main = async () => {
         const store = await VolumeStore.open({ home: ${JSON.stringify(store.home)}, durability: 'fast' })
         const files = (await store.getVolume('v')).fs()
         ${source}
       }
       main()`,
      { eval: true },
    )
  const copying = worker(`await pipeline(files.readStream('x'), files.writeStream('y', { atomic: true }))`)
  assert.deepEqual(await once(copying, 'exit'), [0])
  assert.ok((await files.read('y')).equals(pattern(MIB)))
  const before = openBelow(store)
  for (let round = 0; round < 10; round += 1) {
    const busy = worker(
      `for (let n = 0; ; n += 1) {
         if (n === 2) parentPort.postMessage('busy')
         await Promise.all([0, 1, 2].map((id) => pipeline(
           files.readStream('x', { highWaterMark: 5000 + id }), files.writeStream('z' + id, { atomic: id === 1 }))))
       }`,
    )
    await once(busy, 'message')
    await busy.terminate()
  }
  // The pools close the files of an ended worker.
  const deadline = Date.now() + 120_000
  while (openBelow(store).length > before.length && Date.now() < deadline) {
    await turn()
  }
  assert.deepEqual(openBelow(store), before)
  assert.deepEqual(staged(store), [])
  assert.ok((await files.read('x')).equals(pattern(MIB)))
})
