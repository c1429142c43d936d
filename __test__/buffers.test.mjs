// Cases 62 and 69: buffers that JavaScript detaches, resizes or shares during a write. The write is refused, or it
// writes the bytes as they were. It never writes bytes of another buffer.
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { finished } from 'node:stream/promises'
import { test } from 'node:test'
import { InvalidConfigError } from '../index.js'
import { HOW, KIB, MIB, NEW, OLD, kinds, outcomeOf, recycle, takeAway } from './buffer-support.mjs'
import { rejects, tempVolume, turn } from './support.mjs'

function assertLost(error) {
  assert.ok(error instanceof InvalidConfigError, error?.stack)
  assert.equal(error.field, 'data')
  assert.match(error.message, /transferred/)
}

const SIZES = [4 * KIB, 64 * KIB, 700 * KIB, MIB, MIB + 1, 8 * MIB]

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
