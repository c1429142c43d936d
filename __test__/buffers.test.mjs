// Cases 62 and 69: buffers that JavaScript detaches, resizes or shares during a write. The write is refused, or it
// writes the bytes as they were. It never writes bytes of another buffer.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { finished } from 'node:stream/promises'
import { test } from 'node:test'
import { MessageChannel } from 'node:worker_threads'
import { InvalidConfigError } from '../index.js'
import { rejects, runNode, tempDir, tempStore, tempVolume, turn } from './support.mjs'

const KIB = 1024
const MIB = 1 << 20
const [OLD, NEW, MARKER] = [0x11, 0x22, 0x33]

/** Ways to take away the memory of a buffer as soon as a call has returned. */
const takeAway = {
  structuredClone: (bytes) => structuredClone(bytes.buffer, { transfer: [bytes.buffer] }),
  postMessage: (bytes) => {
    const { port1, port2 } = new MessageChannel()
    port1.postMessage(null, [bytes.buffer])
    port1.close()
    port2.close()
  },
  ...(ArrayBuffer.prototype.transfer && { transfer: (bytes) => bytes.buffer.transfer() }),
}

/** Fills memory that may be the old memory of the buffer, with bytes that must never be written. */
function recycle(size) {
  return [0, 1].map(() => Buffer.alloc(size, MARKER))
}

/** Returns the distinct bytes of a file. */
function kinds(bytes) {
  const found = new Set()
  const block = 64 * KIB
  for (let at = 0; at < bytes.length; at += block) {
    const part = bytes.subarray(at, at + block)
    const isUniform = part.length === 1 || part.subarray(1).equals(part.subarray(0, -1))
    for (const byte of isUniform ? [part[0]] : part) {
      found.add(byte)
    }
  }
  return found
}

const outcomeOf = (promise) =>
  promise.then(
    () => 'written',
    (error) => error,
  )

function assertLost(error) {
  assert.ok(error instanceof InvalidConfigError, error?.stack)
  assert.equal(error.field, 'data')
  assert.match(error.message, /transferred/)
}

const SIZES = [4 * KIB, 64 * KIB, 700 * KIB, MIB, MIB + 1, 8 * MIB]
const HOW = { plain: {}, atomic: { atomic: true } }

for (const [name, take] of Object.entries(takeAway)) {
  test(`case 69: a buffer that ${name} takes away right after the call`, async (t) => {
    const { files, root } = await tempVolume(t)
    const limited = await tempVolume(t, { quotaMib: 64 })
    const calls = Object.entries(HOW).flatMap(([how, options]) => [
      [how, files, root, (...args) => files.write(...args, options)],
      [`${how} with a quota`, limited.files, limited.root, (...args) => limited.files.write(...args, options)],
    ])
    for (const [how, of, directory, write] of calls) {
      for (const size of SIZES) {
        for (let round = 0; round < 4; round += 1) {
          await of.write('x', Buffer.alloc(size, OLD))
          const bytes = new Uint8Array(size).fill(NEW)
          const writing = outcomeOf(write('x', bytes))
          take(bytes)
          assert.equal(bytes.length, 0)
          const kept = recycle(size)
          const outcome = await writing
          const found = readFileSync(path.join(directory, 'x'))
          assert.ok(kept.length)
          assert.equal(found.length, size, `${how} ${size}`)
          if (outcome === 'written') {
            assert.deepEqual(kinds(found), new Set([NEW]), `${how} ${size}`)
          } else {
            assertLost(outcome)
            assert.ok(size > MIB, `${size} bytes are copied in the call`)
            // Nothing was copied, so nothing was touched.
            assert.deepEqual(kinds(found), new Set([OLD]), `${how} ${size}`)
          }
        }
      }
      const [settled] = await Promise.allSettled([write('new', largeThatIsTaken(take))])
      assertLost(settled.reason)
      assert.deepEqual(readdirSync(directory), ['x'], how)
    }
  })

  test(`case 69: an appended buffer that ${name} takes away right after the call`, async (t) => {
    const { files, root } = await tempVolume(t)
    for (const size of SIZES) {
      await files.write('x', Buffer.alloc(4 * KIB, OLD))
      const bytes = new Uint8Array(size).fill(NEW)
      const appending = outcomeOf(files.append('x', bytes))
      take(bytes)
      const kept = recycle(size)
      const outcome = await appending
      const added = readFileSync(path.join(root, 'x')).subarray(4 * KIB)
      assert.ok(kept.length)
      if (outcome === 'written') {
        assert.equal(added.length, size)
        assert.deepEqual(kinds(added), new Set([NEW]))
      } else {
        assertLost(outcome)
        assert.equal(added.length, 0)
      }
    }
  })

  test(`case 69: a stream's chunk that ${name} takes away right after the call`, async (t) => {
    const { files, root } = await tempVolume(t)
    for (const options of [{}, { atomic: true }]) {
      for (const size of [10, 64 * KIB, 700 * KIB, 8 * MIB]) {
        for (const before of [0, 1, 40]) {
          await files.write('x', Buffer.alloc(10, OLD))
          const stream = files.writeStream('x', options)
          const ended = outcomeOf(finished(stream))
          for (let n = 0; n < before; n += 1) {
            stream.write(Buffer.alloc(10 * KIB, NEW))
          }
          const bytes = new Uint8Array(size).fill(NEW)
          stream.write(bytes)
          take(bytes)
          const kept = recycle(size)
          stream.end(Buffer.alloc(10, NEW))
          const outcome = await ended
          assert.ok(kept.length)
          const found = readFileSync(path.join(root, 'x'))
          if (outcome === 'written') {
            assert.equal(found.length, before * 10 * KIB + size + 10)
            assert.deepEqual(kinds(found), new Set([NEW]))
          } else {
            assertLost(outcome)
            const allowed = options.atomic ? [OLD] : [OLD, NEW]
            assert.deepEqual([...kinds(found)].filter((byte) => !allowed.includes(byte)), [])
          }
        }
      }
    }
  })
}

function largeThatIsTaken(take) {
  const bytes = new Uint8Array(8 * MIB).fill(NEW)
  queueMicrotask(() => take(bytes))
  return bytes
}

test('case 69: a buffer that is taken away in the middle of its write', async (t) => {
  const { files, root, store } = await tempVolume(t)
  const size = 64 * MIB
  for (const [how, options] of Object.entries(HOW)) {
    for (let turns = 1; turns <= 6; turns += 1) {
      await files.write('x', Buffer.alloc(size, OLD))
      const bytes = new Uint8Array(size).fill(NEW)
      const writing = outcomeOf(files.write('x', bytes, options))
      for (let n = 0; n < turns; n += 1) {
        await turn()
      }
      structuredClone(bytes.buffer, { transfer: [bytes.buffer] })
      const kept = recycle(size)
      const outcome = await writing
      assert.ok(kept.length)
      const found = readFileSync(path.join(root, 'x'))
      assert.equal(found.length, size)
      if (outcome === 'written') {
        assert.deepEqual(kinds(found), new Set([NEW]), how)
      } else {
        assertLost(outcome)
        const allowed = options.atomic ? [OLD] : [NEW, OLD]
        assert.deepEqual([...kinds(found)].filter((byte) => !allowed.includes(byte)), [], how)
        const added = await outcomeOf(files.write('created', lostAfter(turns), options))
        if (added !== 'written') {
          assert.ok(!readdirSync(root).includes('created'), how)
        } else {
          await files.remove('created')
        }
      }
    }
  }
  assert.deepEqual(readdirSync(path.join(store.home, 'volumes', '.staging')), [])
})

function lostAfter(turns) {
  const bytes = new Uint8Array(64 * MIB).fill(NEW)
  const take = async () => {
    for (let n = 0; n < turns; n += 1) {
      await turn()
    }
    structuredClone(bytes.buffer, { transfer: [bytes.buffer] })
  }
  take()
  return bytes
}

test('case 69: a buffer that is resized after the call', async (t) => {
  if (!ArrayBuffer.prototype.resize) {
    t.skip('this Node has no resizable ArrayBuffer')
    return
  }
  const { files, root } = await tempVolume(t)
  const views = {
    'of a fixed length': (buffer, size) => new Uint8Array(buffer, 0, size),
    'that follows its buffer': (buffer) => new Uint8Array(buffer),
  }
  for (const view of Object.values(views)) {
    for (const [to, mustBeLost] of [
      [0, true],
      [7 * MIB, true],
      [16 * MIB, false],
    ]) {
      for (const options of Object.values(HOW)) {
        await files.write('x', Buffer.alloc(8 * MIB, OLD))
        const buffer = new ArrayBuffer(8 * MIB, { maxByteLength: 32 * MIB })
        const bytes = view(buffer, 8 * MIB).fill(NEW)
        const writing = outcomeOf(files.write('x', bytes, options))
        buffer.resize(to)
        const outcome = await writing
        const found = readFileSync(path.join(root, 'x'))
        assert.equal(found.length, 8 * MIB)
        if (mustBeLost) {
          assertLost(outcome)
          assert.deepEqual(kinds(found), new Set([OLD]))
        } else {
          assert.equal(outcome, 'written')
          assert.deepEqual(kinds(found), new Set([NEW]))
        }
      }
    }
  }
  const stream = files.writeStream('y')
  const buffer = new ArrayBuffer(100, { maxByteLength: 100 })
  stream.write(new Uint8Array(buffer, 50, 50))
  buffer.resize(60)
  stream.end('more')
  assertLost(await outcomeOf(finished(stream)))
})

test('case 69: shared memory that changes while it is written', async (t) => {
  const { files, root } = await tempVolume(t)
  const stream = files.writeStream('stream')
  for (const [name, size, write] of [
    ['write', 8 * MIB, (bytes) => files.write('write', bytes)],
    ['atomic', 8 * MIB, (bytes) => files.write('atomic', bytes, { atomic: true })],
    ['small', 64 * KIB, (bytes) => files.write('small', bytes)],
    ['append', 8 * MIB, (bytes) => files.append('append', bytes)],
    ['stream', 8 * MIB, (bytes) => finished(stream.end(bytes))],
  ]) {
    const bytes = new Uint8Array(new SharedArrayBuffer(size)).fill(NEW)
    const writing = write(bytes)
    bytes.fill(OLD)
    await writing
    const found = readFileSync(path.join(root, name))
    assert.equal(found.length, size, name)
    assert.deepEqual([...kinds(found)].filter((byte) => ![OLD, NEW].includes(byte)), [], name)
  }
})

test('case 62: a buffer that is detached before the call is refused, an empty one is not', async (t) => {
  const { files, root } = await tempVolume(t)
  await files.write('x', 'old')
  for (const size of [0, 10, 8 * MIB]) {
    // A stream converts any other Uint8Array to a Buffer, which throws by itself if the array is detached.
    const bytes = Buffer.from(new ArrayBuffer(size))
    structuredClone(bytes.buffer, { transfer: [bytes.buffer] })
    for (const call of [
      () => files.write('x', bytes),
      () => files.write('x', bytes, { atomic: true }),
      () => files.append('x', bytes),
      () => finished(files.writeStream('x', { append: true }).end(bytes)),
    ]) {
      await rejects(call(), InvalidConfigError, { field: 'data' })
    }
  }
  assert.equal(readFileSync(path.join(root, 'x'), 'utf8'), 'old')
  await files.append('x', new Uint8Array(0))
  await finished(files.writeStream('x', { append: true }).end(new Uint8Array(0)))
  assert.equal(readFileSync(path.join(root, 'x'), 'utf8'), 'old')
  await files.write('x', new Uint8Array(0))
  assert.equal(readFileSync(path.join(root, 'x'), 'utf8'), '')
})

test('every byte is written in its place, however long the data is', async (t) => {
  const { files, root } = await tempVolume(t)
  const limited = await tempVolume(t, { quotaMib: 128 })
  const source = randomBytes(9 * MIB + 7)
  for (const [of, directory] of [
    [files, root],
    [limited.files, limited.root],
  ]) {
    const ways = {
      plain: (data) => of.write('plain', data),
      atomic: (data) => of.write('atomic', data, { atomic: true }),
      durable: (data) => of.write('durable', data, { durable: true }),
      append: async (data) => {
        await of.write('append', '')
        await of.append('append', data)
      },
      stream: (data) => finished(of.writeStream('stream').end(data)),
      chunks: async (data) => {
        const stream = of.writeStream('chunks', { atomic: true })
        for (let at = 0, n = 1; at < data.length; at += n, n *= 3) {
          stream.write(data.subarray(at, at + n))
        }
        await finished(stream.end())
      },
    }
    for (const size of [1, 64 * KIB, MIB - 1, MIB, MIB + 1, 4 * MIB, 4 * MIB + 1, 9 * MIB + 7]) {
      const data = source.subarray(source.length - size)
      await Promise.all(Object.values(ways).map((write) => write(data)))
      for (const name of Object.keys(ways)) {
        assert.ok(readFileSync(path.join(directory, name)).equals(data), `${name} ${size}`)
      }
    }
  }
})

test('writes of one file at once leave the content of one of them', async (t) => {
  const { files, root } = await tempVolume(t)
  const size = 6 * MIB
  for (let round = 0; round < 6; round += 1) {
    const writes = Array.from({ length: 8 }, (_, n) => {
      const length = n % 2 === 0 ? size + n : 4 * KIB + n
      return files.write('x', Buffer.alloc(length, n + 1), { durable: n === 3 })
    })
    await Promise.all(writes)
    const found = readFileSync(path.join(root, 'x'))
    assert.equal(kinds(found).size, 1)
    const n = found[0] - 1
    assert.equal(found.length, n % 2 === 0 ? size + n : 4 * KIB + n)
  }
})

test('a file that another write has is free again whatever becomes of that', async (t) => {
  const { files, root } = await tempVolume(t)
  const controller = new AbortController()
  const lost = new Uint8Array(64 * MIB).fill(MARKER)
  const writes = [
    outcomeOf(files.write('x', lost)),
    outcomeOf(files.write('x', Buffer.alloc(16 * MIB, MARKER), { signal: controller.signal })),
    files.write('x', Buffer.alloc(2 * MIB, NEW)),
  ]
  await turn()
  structuredClone(lost.buffer, { transfer: [lost.buffer] })
  controller.abort()
  await Promise.all(writes)
  await files.writeString('x', 'last')
  assert.equal(readFileSync(path.join(root, 'x'), 'utf8'), 'last')
})

test('hundreds of large writes at once hold little memory and all end', async (t) => {
  const store = await tempStore(t)
  await store.createVolume('v')
  const { stdout, code } = await runNode(
    `const { VolumeStore } = await import(process.env.SV)
     const files = (await (await VolumeStore.open()).getVolume('v')).fs()
     const data = Buffer.alloc(${4 * MIB}, 1)
     await files.write('x', data)
     const before = process.memoryUsage.rss()
     // Into few files, several writes at once into the same one.
     const write = (_, n) => files.write('x' + n % 24, data, { atomic: n % 3 === 0 })
     await Promise.all(Array.from({ length: 300 }, write))
     console.log(process.resourceUsage().maxRSS * 1024 - before)`,
    { env: { MSB_HOME: store.home } },
  )
  assert.equal(code, 0)
  // Their data is 1200 MiB.
  t.diagnostic(`grew by ${(Number(stdout) / MIB).toFixed(1)} MiB`)
  assert.ok(Number(stdout) < 128 * MIB, stdout)
})

test('the event loop copies large data in small parts', async (t) => {
  const { files } = await tempVolume(t)
  const data = Buffer.alloc(64 * MIB, 1)
  let [turns, pending] = [0, true]
  const writes = Array.from({ length: 4 }, (_, n) => files.write(`x${n}`, data))
  const all = Promise.all(writes).finally(() => (pending = false))
  while (pending) {
    await turn()
    turns += 1
  }
  await all
  // 256 MiB, at most 4 MiB per turn.
  assert.ok(turns >= 32, `${turns} turns`)
})

test('a process stays until a large write ends, and one that exits in the middle leaves nothing in staging', async (t) => {
  const MSB_HOME = path.join(tempDir(t), 'home')
  const source = (rest) =>
    `const { VolumeStore } = await import(process.env.SV)
     const store = await VolumeStore.open()
     const volume = await store.createVolume('v').catch(() => store.getVolume('v'))
     const files = volume.fs()
     ${rest}`
  const stays = await runNode(
    source(`files.write('x', Buffer.alloc(${32 * MIB}, 1), { atomic: true }).then(() => console.log('written'))`),
    { env: { MSB_HOME } },
  )
  assert.deepEqual([stays.stdout, stays.code], ['written\n', 0])
  const exits = await runNode(
    source(
      `files.write('x', Buffer.alloc(${64 * MIB}, 2), { atomic: true })
       setImmediate(() => setImmediate(() => process.exit(7)))`,
    ),
    { env: { MSB_HOME } },
  )
  assert.deepEqual([exits.stdout, exits.stderr, exits.code], ['', '', 7])
  await runNode(source(''), { env: { MSB_HOME } })
  assert.deepEqual(readdirSync(path.join(MSB_HOME, 'volumes', '.staging')), [])
  const found = readFileSync(path.join(MSB_HOME, 'volumes', 'v', 'x'))
  assert.equal(kinds(found).size, 1)
})

test('a large write is aborted before its first byte, or ends whole', async (t) => {
  const { files, root } = await tempVolume(t)
  const size = 32 * MIB
  for (const options of Object.values(HOW)) {
    for (let turns = 0; turns < 5; turns += 1) {
      await files.write('x', Buffer.alloc(size, OLD))
      const controller = new AbortController()
      const writing = outcomeOf(files.write('x', Buffer.alloc(size, NEW), { ...options, signal: controller.signal }))
      for (let n = 0; n < turns; n += 1) {
        await turn()
      }
      controller.abort('mine')
      const outcome = await writing
      assert.ok(['mine', 'written'].includes(outcome), outcome?.stack)
      const found = readFileSync(path.join(root, 'x'))
      assert.deepEqual(kinds(found), new Set([outcome === 'written' ? NEW : OLD]))
    }
  }
})

test('a worker that ends in the middle of large writes undoes them', async (t) => {
  const { files, root, store } = await tempVolume(t)
  const { Worker } = await import('node:worker_threads')
  for (let round = 0; round < 4; round += 1) {
    await files.write('kept', Buffer.alloc(4 * MIB, OLD))
    const worker = new Worker(
      `const { parentPort, workerData } = require('node:worker_threads')
       import(workerData.url).then(async ({ default: { VolumeStore } }) => {
         const files = (await (await VolumeStore.open({ home: workerData.home })).getVolume('v')).fs()
         const data = Buffer.alloc(${64 * MIB}, ${NEW})
         files.write('kept', data, { atomic: true }).catch(() => {})
         files.write('created', data).catch(() => {})
         files.write('held', data).catch(() => {})
         parentPort.postMessage('begun')
       })`,
      { eval: true, workerData: { home: store.home, url: new URL('../index.js', import.meta.url).href } },
    )
    await once(worker, 'message')
    await turn()
    await worker.terminate()
    // Other writes can use the file that the worker wrote.
    await files.write('held', 'mine')
    const isSettled = () => {
      const kept = readFileSync(path.join(root, 'kept'))
      const created = readdirSync(root).includes('created') ? readFileSync(path.join(root, 'created')) : undefined
      return (
        readdirSync(path.join(store.home, 'volumes', '.staging')).length === 0 &&
        kinds(kept).size === 1 &&
        (created === undefined || (created.length === 64 * MIB && kinds(created).size === 1))
      )
    }
    while (!isSettled()) {
      await turn()
    }
    assert.equal(readFileSync(path.join(root, 'held'), 'utf8'), 'mine')
    await files.removeAll('created')
  }
})

test('a write or copy that fails takes away nothing that another call wrote', async (t) => {
  const { files, root } = await tempVolume(t)
  const source = path.join(tempDir(t), 'source')
  writeFileSync(source, Buffer.alloc(64 * MIB, NEW))
  const begin = {
    write: (name) => {
      const bytes = new Uint8Array(64 * MIB).fill(NEW)
      return [files.write(name, bytes), () => takeAway.structuredClone(bytes)]
    },
    copyIn: (name) => {
      const controller = new AbortController()
      return [files.copyIn(source, name, { signal: controller.signal }), () => controller.abort()]
    },
  }
  const put = {
    atomic: (name) => files.write(name, 'acknowledged', { atomic: true }),
    rename: (name) => files.write('other', 'acknowledged').then(() => files.rename('other', name)),
  }
  for (const [how, start] of Object.entries(begin)) {
    for (const [what, other] of Object.entries({ ...put, ...(how === 'write' && { plain: undefined }) })) {
      for (let round = 0; round < 4; round += 1) {
        const name = `${how}-${what}-${round}`
        const [failing, fail] = start(name)
        const outcome = outcomeOf(failing)
        while (!existsSync(path.join(root, name))) {
          await turn()
        }
        // Plain writes run one after the other, in either order.
        const writing = other ? await other(name) : files.write(name, 'acknowledged')
        fail()
        await outcome
        await writing
        assert.ok(existsSync(path.join(root, name)), name)
        if (other) {
          assert.equal(readFileSync(path.join(root, name), 'utf8'), 'acknowledged', name)
        }
      }
    }
  }
})
