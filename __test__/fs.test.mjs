import assert from 'node:assert/strict'
import {
  chmodSync,
  existsSync,
  linkSync,
  readFileSync,
  readdirSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { FileSystemError, InvalidConfigError, PathEscapeError, QuotaExceededError } from '../index.js'
import { isRoot, rejects, tempVolume } from './support.mjs'

/** Returns bytes such that data at a wrong offset differs. */
function pattern(length) {
  const bytes = Buffer.alloc(length)
  for (let index = 0; index < length; index += 1) {
    bytes[index] = (index * 31 + (index >> 8)) & 0xff
  }
  return bytes
}

test('what is written is read again, as bytes and as text', async (t) => {
  const { files, root } = await tempVolume(t)
  assert.equal(await files.writeString('seed.txt', 'hello\0 wörld 📦\n'), undefined)
  assert.equal(await files.readString('seed.txt'), 'hello\0 wörld 📦\n')
  assert.deepEqual(await files.read('seed.txt'), Buffer.from('hello\0 wörld 📦\n'))
  assert.equal(await files.write('bytes', Buffer.from([0, 255, 10])), undefined)
  const bytes = await files.read('bytes')
  assert.ok(Buffer.isBuffer(bytes))
  assert.deepEqual([...bytes], [0, 255, 10])
  assert.deepEqual(readFileSync(path.join(root, 'bytes')), bytes)
})

test('a write replaces the whole content, longer or shorter', async (t) => {
  const { files } = await tempVolume(t)
  for (const options of [undefined, { atomic: true }, { durable: true }, { atomic: true, durable: true }]) {
    for (const content of ['first', 'second and longer', 's', '']) {
      await files.writeString('x', content, options)
      assert.equal(await files.readString('x'), content)
    }
  }
})

test('data may be a Buffer, a Uint8Array, a view of a part, shared memory or a string', async (t) => {
  const { files } = await tempVolume(t)
  const large = pattern(200_000)
  class OwnArray extends Uint8Array {}
  const shared = new Uint8Array(new SharedArrayBuffer(100_000)).fill(7)
  for (const [data, expected] of [
    [Buffer.from('abc'), 'abc'],
    [new Uint8Array([97, 98]), 'ab'],
    [OwnArray.from([97]), 'a'],
    [new Uint8Array(0), ''],
    ['', ''],
    ['text', 'text'],
    [large.subarray(1, 4), large.subarray(1, 4)],
    [large.subarray(1, 150_000), large.subarray(1, 150_000)],
    [new Uint8Array(large.buffer, large.byteOffset + 99, 70_000), large.subarray(99, 70_099)],
    ['é'.repeat(100_000), 'é'.repeat(100_000)],
    [shared, Buffer.from(shared)],
    ['\ud800', '\ufffd'],
  ]) {
    await files.write('x', data)
    assert.ok((await files.read('x')).equals(Buffer.from(expected)))
  }
})

test('anything else is no data', async (t) => {
  const { files } = await tempVolume(t)
  const buffer = new ArrayBuffer(3)
  for (const data of [
    buffer,
    new DataView(buffer),
    new Uint16Array(3),
    new Uint8ClampedArray(3),
    new String('x'),
    ['x'],
    true,
  ]) {
    await rejects(files.write('x', data), InvalidConfigError, { field: 'data' })
  }
  await rejects(files.writeString('x', Buffer.from('x')), InvalidConfigError, { field: 'content' })
  assert.equal(await files.exists('x'), false)
})

for (const length of [0, 1, 65_535, 65_536, 65_537, 5 * 1024 * 1024]) {
  test(`${length} bytes make the round trip`, async (t) => {
    const { files, root } = await tempVolume(t)
    const bytes = pattern(length)
    for (const options of [{}, { atomic: true }]) {
      await files.write('bytes', bytes, options)
      assert.ok((await files.read('bytes')).equals(bytes))
      assert.ok(readFileSync(path.join(root, 'bytes')).equals(bytes))
      const text = bytes.toString('hex')
      await files.writeString('text', text, options)
      assert.equal(await files.readString('text'), text)
    }
  })
}

test('a Buffer that was read belongs to the caller alone', async (t) => {
  const { files } = await tempVolume(t)
  for (const length of [10, 100_000]) {
    await files.write('x', pattern(length))
    const [first, second] = await Promise.all([files.read('x'), files.read('x')])
    first.fill(0)
    await files.write('x', Buffer.alloc(length, 1))
    assert.ok(second.equals(pattern(length)))
  }
})

test('small data may be changed as soon as write has returned', async (t) => {
  const { files } = await tempVolume(t)
  const data = Buffer.from('before')
  const writing = files.write('x', data)
  data.fill('!')
  await writing
  assert.equal(await files.readString('x'), 'before')
})

test('the parent of a file must exist, and mkdir makes it with all above it', async (t) => {
  const { files, root } = await tempVolume(t)
  await rejects(files.writeString('a/b/x', 'y'), FileSystemError, { code: 'ENOENT', path: 'a/b/x' })
  assert.equal(await files.mkdir('a/b'), undefined)
  await files.mkdir('a/b')
  await files.writeString('a/b/x', 'y')
  assert.equal(statSync(path.join(root, 'a/b')).mode & 0o777, 0o755 & ~process.umask())
})

test('remove takes one entry, removeAll a tree or nothing', async (t) => {
  const { files } = await tempVolume(t)
  await files.mkdir('dir/sub/deep')
  await files.writeString('dir/sub/x', 'y')
  await files.writeString('x', 'y')
  assert.equal(await files.remove('x'), undefined)
  await rejects(files.remove('x'), FileSystemError, { code: 'ENOENT' })
  await rejects(files.remove('dir'), FileSystemError, { code: 'ENOTEMPTY' })
  await files.remove('dir/sub/deep')
  assert.equal(await files.removeAll('dir'), undefined)
  assert.equal(await files.exists('dir'), false)
  await files.removeAll('dir')
  for (const rootPath of ['', '.', './']) {
    await rejects(files.removeAll(rootPath), InvalidConfigError, { field: 'path' })
    await rejects(files.remove(rootPath), InvalidConfigError, { field: 'path' })
  }
})

test('exists shows which entries exist', async (t) => {
  const { files } = await tempVolume(t)
  await files.writeString('file', 'x')
  await files.mkdir('dir')
  for (const [relPath, there] of [
    ['', true],
    ['.', true],
    ['file', true],
    ['dir', true],
    ['nope', false],
    ['nope/x', false],
    ['file/x', false],
  ]) {
    assert.equal(await files.exists(relPath), there, relPath)
  }
})

test('root is the data directory, and cannot be changed', async (t) => {
  const { files, store } = await tempVolume(t)
  assert.equal(files.root, path.join(store.home, 'volumes', 'v'))
  assert.throws(() => (files.root = '/'), TypeError)
  await files.writeString('x', 'y')
  assert.deepEqual(readdirSync(files.root), ['x'])
})

test('mode is that of a new file, less the umask, and an existing file keeps its own', async (t) => {
  const { files, root } = await tempVolume(t)
  const modeOf = (relPath) => statSync(path.join(root, relPath)).mode & 0o7777
  for (const atomic of [false, true]) {
    await files.writeString(`default-${atomic}`, 'x', { atomic })
    assert.equal(modeOf(`default-${atomic}`), 0o644 & ~process.umask())
    for (const mode of [0o600, 0o755, 0o777]) {
      const name = `${mode}-${atomic}`
      await files.writeString(name, 'x', { atomic, mode })
      assert.equal(modeOf(name), mode & ~process.umask())
      await files.writeString(name, 'again', { atomic, mode: 0o640 })
      assert.equal(modeOf(name), mode & ~process.umask())
    }
  }
})

test('an atomic write takes the name over; a plain one goes into the file', async (t) => {
  const { files, root } = await tempVolume(t)
  await files.writeString('x', 'old')
  linkSync(path.join(root, 'x'), path.join(root, 'link'))
  await files.writeString('x', 'plain')
  assert.equal(await files.readString('link'), 'plain')
  await files.writeString('x', 'atomic', { atomic: true })
  assert.equal(await files.readString('link'), 'plain')
  assert.equal(await files.readString('x'), 'atomic')
})

test('a reader of an atomically written file sees the old or the new content', async (t) => {
  const { files } = await tempVolume(t)
  const contents = [Buffer.alloc(100_000, 1), Buffer.alloc(150_000, 2)]
  await files.write('x', contents[0], { atomic: true })
  let writing = true
  const writer = (async () => {
    for (let round = 0; round < 100; round += 1) {
      await files.write('x', contents[round % 2], { atomic: true })
    }
    writing = false
  })()
  for (let reads = 0; writing || reads < 10; reads += 1) {
    const seen = await files.read('x')
    assert.ok(
      contents.some((content) => content.equals(seen)),
      `a mix of ${seen.length} bytes`,
    )
  }
  await writer
})

test('options that are none are refused, and nothing is written', async (t) => {
  const { files } = await tempVolume(t)
  for (const [options, field] of [
    [{ atomic: 1 }, 'atomic'],
    [{ durable: 'yes' }, 'durable'],
    [{ mode: '644' }, 'mode'],
    [{ mode: 0o10000 }, 'mode'],
    [{ mode: -1 }, 'mode'],
    [{ mode: 1.5 }, 'mode'],
    [{ mode: 2 ** 32 }, 'mode'],
    [{ flag: 'a' }, 'flag'],
    [{ encoding: 'utf8' }, 'encoding'],
    ['utf8', 'options'],
  ]) {
    await rejects(files.write('x', 'y', options), InvalidConfigError, { field })
    await rejects(files.writeString('x', 'y', options), InvalidConfigError, { field })
  }
  await rejects(files.readString('x', 'utf8'), InvalidConfigError, { field: 'options' })
  await rejects(files.mkdir('d', { recursive: true }), InvalidConfigError, { field: 'recursive' })
  assert.deepEqual(readdirSync(files.root), [])
  await files.write('x', 'y', { atomic: null, durable: undefined, mode: null, signal: null })
})

test('names may be any text', async (t) => {
  const { files, root } = await tempVolume(t)
  for (const name of [
    'é',
    'e\u0301',
    '📦',
    ' ',
    '-x',
    '~',
    'a\nb',
    '"',
    '\\',
    '.hidden',
    '...',
    'ﷺ'.repeat(85),
  ]) {
    await files.mkdir(name)
    await files.writeString(`${name}/${name}`, name)
    assert.equal(await files.readString(`${name}/${name}`), name)
    assert.deepEqual(readdirSync(path.join(root, name)), [name])
    await files.removeAll(name)
  }
  assert.deepEqual(readdirSync(root), [])
})

test('text that is not UTF-8 is an error, not a replacement character', async (t) => {
  const { files } = await tempVolume(t)
  for (const bytes of [[0xff], [0x61, 0xc3], [0xed, 0xa0, 0x80], [0xc0, 0x80], [0xf5, 0x80, 0x80, 0x80]]) {
    for (const padding of [0, 70_000]) {
      await files.write('x', Buffer.concat([Buffer.alloc(padding, 'a'), Buffer.from(bytes)]))
      await rejects(files.readString('x'), FileSystemError, {
        code: 'EILSEQ',
        path: 'x',
        message: /not valid UTF-8/,
      })
    }
  }
  await files.write('bom', Buffer.from('\ufeffx'))
  assert.equal(await files.readString('bom'), '\ufeffx')
})

test('a file over 2 GiB, or over the longest string, is refused before memory is taken for it', async (t) => {
  const { files, root } = await tempVolume(t)
  const sparse = path.join(root, 'sparse')
  writeFileSync(sparse, '')
  for (const size of [3 * 2 ** 30, 64 * 2 ** 30, 2 ** 31 + 1]) {
    truncateSync(sparse, size)
    await rejects(files.read('sparse'), FileSystemError, { code: 'EFBIG', path: 'sparse' })
    await rejects(files.readString('sparse'), FileSystemError, { code: 'EFBIG' })
  }
  truncateSync(sparse, 2 ** 29 - 23)
  await rejects(files.readString('sparse'), FileSystemError, { code: 'EFBIG' })
})

test('a write over the quota changes nothing', async (t) => {
  const { files, root } = await tempVolume(t, { quotaMib: 1 })
  await files.writeString('x', 'old')
  const before = readdirSync(root)
  for (const options of [{}, { atomic: true }]) {
    for (const name of ['x', 'new']) {
      const error = await rejects(files.write(name, Buffer.alloc(2 ** 20), options), QuotaExceededError)
      assert.deepEqual([error.volume, error.path, error.code], ['v', name, 'ERR_QUOTA_EXCEEDED'])
    }
  }
  assert.equal(await files.readString('x'), 'old')
  assert.deepEqual(readdirSync(root), before)
  await files.write('fits', Buffer.alloc(900_000))
  await rejects(files.write('second', Buffer.alloc(200_000)), QuotaExceededError)
  await files.write('fits', Buffer.alloc(950_000))
  await files.remove('fits')
  await files.write('second', Buffer.alloc(200_000))
})

test('what the guest wrote counts towards the quota', async (t) => {
  const { files, root } = await tempVolume(t, { quotaMib: 1 })
  writeFileSync(path.join(root, 'guests'), Buffer.alloc(2 ** 20, 1))
  await rejects(files.write('x', 'y'), QuotaExceededError)
  assert.ok(!existsSync(path.join(root, 'x')))
})

test('a directory without rights refuses as the system does, unless one is root', async (t) => {
  const { files, root } = await tempVolume(t)
  await files.mkdir('closed')
  chmodSync(path.join(root, 'closed'), 0o000)
  try {
    if (isRoot) {
      await files.writeString('closed/x', 'y')
    } else {
      await rejects(files.writeString('closed/x', 'y'), FileSystemError, { code: 'EACCES', errno: -13 })
      await rejects(files.exists('closed/x'), FileSystemError, { code: 'EACCES' })
    }
  } finally {
    chmodSync(path.join(root, 'closed'), 0o700)
  }
})

test('a path may be given as bytes, which a name that is not UTF-8 needs', async (t) => {
  const { files, root } = await tempVolume(t)
  const odd = Buffer.from('odd\xff/file\x80', 'latin1')
  await files.mkdir(odd.subarray(0, 4))
  await files.write(odd, 'content')
  assert.equal(await files.readString(new Uint8Array(odd)), 'content')
  assert.deepEqual(readdirSync(root, { encoding: 'buffer' }), [Buffer.from('odd\xff', 'latin1')])
  assert.equal(await files.exists(odd), true)
  await rejects(files.read(Buffer.from('odd\xff/none', 'latin1')), FileSystemError, { code: 'ENOENT', path: 'odd\ufffd/none' })
  await rejects(files.read(Buffer.from('a\0b')), InvalidConfigError, { field: 'path' })
  await rejects(files.read(Buffer.from('../x')), PathEscapeError)
  await files.removeAll(odd.subarray(0, 4))
  assert.deepEqual(readdirSync(root), [])
  for (const path of [1, {}, ['a'], new Map(), null]) {
    await rejects(files.read(path), InvalidConfigError, { field: 'path' })
  }
})
