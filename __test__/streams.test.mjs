// Streams into and out of a volume: the data, the buffering, and refusals.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { Duplex, Readable, Writable } from 'node:stream'
import { buffer, text } from 'node:stream/consumers'
import { finished, pipeline } from 'node:stream/promises'
import { test } from 'node:test'
import { FileSystemError, InvalidConfigError, PathEscapeError } from '../index.js'
import { NativeReader, NativeWriter, failureOf, outstanding, pattern, sparse } from './stream-support.mjs'
import { outputOf, tempVolume, throws, turn } from './support.mjs'

const MIB = 1 << 20

for (const length of [0, 1, 65_535, 512 * 1024, 512 * 1024 + 1, 5 * MIB + 7]) {
  test(`${length} bytes flow in and out`, async (t) => {
    const { files, root } = await tempVolume(t)
    const bytes = pattern(length)
    for (const options of [{}, { atomic: true }, { durable: true }, { atomic: true, durable: true }]) {
      for (const size of [1000, 70_000, 4 * MIB].filter((size) => length / size < 1000)) {
        const chunks = []
        for (let at = 0; at < length; at += size) {
          chunks.push(bytes.subarray(at, at + size))
        }
        await pipeline(chunks, files.writeStream('x', options))
        assert.ok(readFileSync(path.join(root, 'x')).equals(bytes))
      }
    }
    assert.ok((await buffer(files.readStream('x'))).equals(bytes))
    assert.ok((await buffer(files.readStream('x', { highWaterMark: 8191 }))).equals(bytes))
    await pipeline(files.readStream('x'), files.writeStream('y'))
    assert.ok(readFileSync(path.join(root, 'y')).equals(bytes))
  })
}

test('they are streams of Node: text, encodings, iteration, web streams, finished, events', async (t) => {
  const { files } = await tempVolume(t)
  const writing = files.writeStream('x')
  assert.ok(writing instanceof Writable)
  writing.write('häl')
  writing.write('6c6f', 'hex')
  writing.write(new Uint8Array([32]))
  writing.end('wörld')
  await finished(writing)
  assert.equal(await text(files.readStream('x')), 'hällo wörld')
  assert.deepEqual(
    await files.readStream('x', { highWaterMark: 2 }).setEncoding('utf8').toArray(),
    ['h', 'äl', 'lo', ' w', 'ö', 'rl', 'd'],
  )
  assert.equal(await new Response(Readable.toWeb(files.readStream('x'))).text(), 'hällo wörld')
  await new Blob(['from the web']).stream().pipeTo(Writable.toWeb(files.writeStream('y')))
  assert.equal(await text(files.readStream('y')), 'from the web')
  const reading = files.readStream('y')
  assert.ok(reading instanceof Readable)
  const seen = []
  for (const event of ['end', 'close']) {
    reading.once(event, () => seen.push(event))
  }
  await finished(reading.resume())
  assert.deepEqual(seen, ['end', 'close'])
  await pipeline(
    files.readStream('y'),
    Duplex.from(async function* (chunks) {
      for await (const chunk of chunks) yield chunk.toString().toUpperCase()
    }),
    files.writeStream('z'),
  )
  assert.equal(await files.readString('z'), 'FROM THE WEB')
})

test('a range is read, both ends included', async (t) => {
  const { files } = await tempVolume(t)
  await files.writeString('x', '0123456789')
  for (const [options, expected] of [
    [{ start: 3 }, '3456789'],
    [{ start: 3, end: 3 }, '3'],
    [{ end: 4 }, '01234'],
    [{ start: 8, end: Number.MAX_SAFE_INTEGER }, '89'],
    [{ start: 10 }, ''],
    [{ start: Number.MAX_SAFE_INTEGER }, ''],
    [{ start: null, end: undefined }, '0123456789'],
  ]) {
    assert.equal(await text(files.readStream('x', { highWaterMark: 3, ...options })), expected)
  }
})

test('a write stream may append, or start anywhere, and makes a missing file with its mode', async (t) => {
  const { files, root } = await tempVolume(t)
  for (const [options, expected] of [
    [{}, 'xyz'],
    [{ append: true }, '0123456789xyz'],
    [{ start: 0 }, 'xyz3456789'],
    [{ start: 4 }, '0123xyz789'],
    [{ start: 11 }, '0123456789\0xyz'],
  ]) {
    await files.writeString('x', '0123456789')
    await pipeline(['x', 'yz'], files.writeStream('x', options))
    assert.equal(await files.readString('x'), expected, JSON.stringify(options))
  }
  for (const options of [{}, { atomic: true }, { append: true }]) {
    await pipeline([], files.writeStream('new', { mode: 0o600, ...options }))
    const { mode, size } = statSync(path.join(root, 'new'))
    assert.deepEqual([mode & 0o7777, size], [0o600, 0])
    await files.remove('new')
  }
})

test('a wrong option or path is refused by name, at once', async (t) => {
  const { files } = await tempVolume(t)
  for (const [field, options] of [
    ['start', { start: -1 }],
    ['start', { start: 1.5 }],
    ['start', { start: 2 ** 53 }],
    ['start', { start: '1' }],
    ['end', { end: NaN }],
    ['end', { start: 2, end: 1 }],
    ['highWaterMark', { highWaterMark: 0 }],
    ['highWaterMark', { highWaterMark: 2 ** 30 + 1 }],
    ['highWaterMark', { highWaterMark: Infinity }],
    ['encoding', { encoding: 'utf8' }],
    ['signal', { signal: {} }],
    ['options', 'utf8'],
  ]) {
    throws(() => files.readStream('x', options), InvalidConfigError, { field })
  }
  for (const [field, options] of [
    ['append', { append: true, start: 0 }],
    ['atomic', { atomic: true, append: true }],
    ['atomic', { atomic: true, start: 0 }],
    ['atomic', { atomic: 1 }],
    ['mode', { mode: 0o10000 }],
    ['start', { start: 2 ** 53 }],
    ['highWaterMark', { highWaterMark: -1 }],
    ['flags', { flags: 'a' }],
    ['signal', { signal: 7 }],
  ]) {
    throws(() => files.writeStream('x', options), InvalidConfigError, { field })
  }
  for (const relPath of [7, undefined, null, {}, ['x']]) {
    throws(() => files.readStream(relPath), InvalidConfigError, { field: 'path' })
    throws(() => files.writeStream(relPath), InvalidConfigError, { field: 'path' })
  }
  assert.equal(await files.exists('x'), false)
})

test('what is wrong with a file is an error event, after which the stream closes', async (t) => {
  const { files, root } = await tempVolume(t)
  await files.mkdir('dir')
  execFileSync('mkfifo', [path.join(root, 'fifo')])
  for (const [make, Class, code] of [
    [() => files.readStream('missing'), FileSystemError, 'ENOENT'],
    [() => files.readStream('dir'), FileSystemError, 'EISDIR'],
    [() => files.readStream('../x'), PathEscapeError, 'ERR_PATH_ESCAPE'],
    [() => files.readStream('a\0'), InvalidConfigError, 'ERR_INVALID_CONFIG'],
    [() => files.writeStream('missing/x'), FileSystemError, 'ENOENT'],
    [() => files.writeStream('dir'), FileSystemError, 'EISDIR'],
    [() => files.writeStream('dir', { atomic: true }), FileSystemError, 'EISDIR'],
    [() => files.writeStream('/etc/x'), PathEscapeError, 'ERR_PATH_ESCAPE'],
    // Case 10: a FIFO is refused at both ends.
    [() => files.readStream('fifo'), FileSystemError, 'ENOTSUP'],
    [() => files.writeStream('fifo'), FileSystemError, 'ENOTSUP'],
    [() => files.writeStream('fifo', { atomic: true }), FileSystemError, 'ENOTSUP'],
  ]) {
    const stream = make()
    const error = await failureOf(stream)
    assert.ok(error instanceof Class, error.stack)
    assert.equal(error.code, code)
    assert.ok(stream.destroyed && stream.closed)
  }
  const reading = files.readStream(Buffer.from('odd\xff', 'latin1'))
  assert.equal((await failureOf(reading)).path, 'odd\ufffd')
})

test('case 10: 300 streams of FIFOs hold up no normal one', async (t) => {
  const { files, root } = await tempVolume(t)
  execFileSync('mkfifo', [path.join(root, 'fifo')])
  await files.writeString('x', 'normal')
  const refused = Array.from({ length: 300 }, () => failureOf(files.readStream('fifo')))
  assert.equal(await text(files.readStream('x')), 'normal')
  assert.deepEqual(new Set((await Promise.all(refused)).map(({ code }) => code)), new Set(['ENOTSUP']))
})

test('a write to a closed stream fails as in Node.js', async (t) => {
  const { files } = await tempVolume(t)
  const writeLate = (stream) => new Promise((resolve) => stream.on('error', () => {}).write('late', resolve))
  const ended = files.writeStream('x')
  ended.end('x')
  await finished(ended)
  assert.equal((await writeLate(ended)).code, 'ERR_STREAM_WRITE_AFTER_END')
  assert.equal((await writeLate(files.writeStream('y').destroy())).code, 'ERR_STREAM_DESTROYED')
  assert.equal(await files.readString('x'), 'x')
})

test('a reader reads one chunk at a time, and one ahead of the consumer', async (t) => {
  const { files, root } = await tempVolume(t)
  sparse(root, 'x', 64 * 1024)
  const reads = outstanding(t, NativeReader, 'read')
  const stream = files.readStream('x', { highWaterMark: 1024 })
  const iterator = stream[Symbol.asyncIterator]()
  for (let taken = 1; taken <= 10; taken += 1) {
    await iterator.next()
    for (let turns = 0; turns < 50; turns += 1) {
      await turn()
    }
    // The consumed bytes, the bytes in the stream, and the chunk ahead.
    assert.ok(reads.calls <= taken + 3, `${reads.calls} reads for ${taken} chunks`)
    assert.ok(stream.readableLength <= 2048, `${stream.readableLength} bytes held`)
  }
  assert.equal(reads.most, 1)
  await iterator.return()
  assert.ok(stream.destroyed)
})

test('a writer asks to wait, writes one piece at a time, and puts small chunks together', async (t) => {
  const { files } = await tempVolume(t)
  const writes = outstanding(t, NativeWriter, 'write')
  const stream = files.writeStream('x', { highWaterMark: 10_000 })
  let waits = 0
  for (let written = 0; written < 100_000; written += 1) {
    assert.ok(stream.writableLength <= 10_000)
    if (!stream.write('x')) {
      waits += 1
      await once(stream, 'drain')
    }
  }
  stream.end()
  await finished(stream)
  assert.equal((await files.read('x')).length, 100_000)
  assert.ok(waits >= 9, `${waits} waits`)
  assert.ok(writes.calls < 100, `${writes.calls} writes`)
  assert.equal(writes.most, 1)
})

test('1 GiB on both sides of the fourth GiB flows through in less than 64 MiB of memory', async (t) => {
  const { store, root } = await tempVolume(t)
  const start = 4 * 2 ** 30 - 2 ** 29
  sparse(root, 'x', start + 2 ** 30)
  const output = await outputOf(
    `import { Writable } from 'node:stream'
     import { pipeline } from 'node:stream/promises'
     const { VolumeStore } = await import(process.env.SV)
     const store = await VolumeStore.open()
     const files = (await store.getVolume('v')).fs()
     const before = process.memoryUsage.rss()
     let bytes = 0
     const write = (chunk, encoding, done) => { bytes += chunk.length; done() }
     await pipeline(files.readStream('x', { start: ${start} }), new Writable({ write }))
     const most = process.resourceUsage().maxRSS * 1024
     // Into a file, but not all of it: that would take 1 GiB of disk.
     await pipeline(files.readStream('x', { end: 2 ** 27 - 1 }), files.writeStream('y', { atomic: true }))
     const mostWriting = process.resourceUsage().maxRSS * 1024
     console.log(JSON.stringify({ bytes, growth: most - before, growthWriting: mostWriting - before }))`,
    { env: { MSB_HOME: store.home } },
  )
  const { bytes, growth, growthWriting } = JSON.parse(output)
  t.diagnostic(`grew by ${(growth / MIB).toFixed(1)} MiB, writing ${(growthWriting / MIB).toFixed(1)} MiB`)
  assert.equal(bytes, 2 ** 30)
  assert.ok(growth < 64 * MIB && growthWriting < 64 * MIB, output)
  assert.equal(statSync(path.join(root, 'y')).size, 2 ** 27)
})

// The Rust suite reads the end of a file of 8 EiB, if the file system allows such files.
test('case 12: sparse files of 64 GiB and 16 TiB are read, and aborted at once', async (t) => {
  const { files, root } = await tempVolume(t)
  for (const length of [64 * 2 ** 30, 2 ** 44 - 2 ** 12]) {
    try {
      sparse(root, 'x', length)
    } catch (error) {
      t.diagnostic(`the file system has no files of ${length} bytes: ${error.code}`)
      continue
    }
    const controller = new AbortController()
    let bytes = 0
    const stream = files.readStream('x', { signal: controller.signal })
    await assert.rejects(
      pipeline(stream, async (chunks) => {
        for await (const chunk of chunks) {
          bytes += chunk.length
          if (bytes >= 8 * MIB) controller.abort()
        }
      }),
      { name: 'AbortError' },
    )
    assert.ok(stream.closed && bytes < 64 * MIB)
    assert.deepEqual(await buffer(files.readStream('x', { start: length - 5 })), Buffer.alloc(5))
  }
})

test('case 13: a file that grows is read to where it ended, one that shrinks to where it ends', async (t) => {
  const { files, root } = await tempVolume(t)
  const file = path.join(root, 'x')
  writeFileSync(file, pattern(10_000))
  const growing = files.readStream('x', { highWaterMark: 1000 })
  let bytes = 0
  for await (const chunk of growing) {
    bytes += chunk.length
    appendFileSync(file, chunk)
  }
  assert.equal(bytes, 10_000)
  writeFileSync(file, pattern(10_000))
  bytes = 0
  for await (const chunk of files.readStream('x', { highWaterMark: 1000 })) {
    bytes += chunk.length
    truncateSync(file, 5500)
  }
  assert.equal(bytes, 5500)
})
