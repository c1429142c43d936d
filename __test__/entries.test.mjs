// `list`, `stat` and `rename` of the JavaScript API.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readlinkSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { FileSystemError, InvalidConfigError, PathEscapeError } from '../index.js'
import { fill, volumeInMemory } from './entries-support.mjs'
import { rejects, tempVolume } from './support.mjs'

const pathsOf = (entries) => entries.map((entry) => entry.path)

async function iterated(listing) {
  const entries = []
  for await (const entry of listing) {
    entries.push(entry)
  }
  return entries
}

/** Counts the descriptors of this process below a directory. */
function descriptorsBelow(root) {
  const targets = readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`)
    } catch {
      return ''
    }
  })
  return targets.filter((target) => target.startsWith(root)).length
}

test('entries and metadata agree with those of Node.js', async (t) => {
  const { files, root } = await tempVolume(t)
  const at = (name) => path.join(root, name)
  mkdirSync(at('dir'))
  writeFileSync(at('dir/file'), 'content')
  chmodSync(at('dir/file'), 0o4444)
  linkSync(at('dir/file'), at('dir/hard'))
  utimesSync(at('dir/file'), 1, -1.4996)
  symlinkSync('file', at('dir/link'))
  execFileSync('mkfifo', [at('dir/fifo')])
  writeFileSync(at('dir/sparse'), '')
  truncateSync(at('dir/sparse'), 2 ** 40)
  const entries = await files.list('dir')
  assert.deepEqual(pathsOf(entries), ['dir/fifo', 'dir/file', 'dir/hard', 'dir/link', 'dir/sparse'])
  assert.deepEqual(
    entries.map(({ kind }) => kind),
    ['other', 'file', 'file', 'symlink', 'file'],
  )
  for (const entry of entries) {
    const seen = lstatSync(at(entry.path))
    const { size, mode, modified, pathBytes } = entry
    assert.deepEqual(
      { size, mode, modified, pathBytes },
      { size: seen.size, mode: seen.mode & 0o7777, modified: seen.mtime, pathBytes: null },
    )
    const metadata = await files.stat(entry.path, { followSymlinks: false })
    assert.deepEqual(metadata, {
      kind: entry.kind,
      size: seen.size,
      allocatedBytes: seen.blocks * 512,
      mode: seen.mode & 0o7777,
      readonly: (seen.mode & 0o222) === 0,
      uid: seen.uid,
      gid: seen.gid,
      nlink: seen.nlink,
      modified: seen.mtime,
      accessed: seen.atime,
      created: seen.birthtime,
    })
  }
  assert.deepEqual(await files.stat('dir/link'), await files.stat('dir/file'))
  assert.equal((await files.stat('dir/file')).readonly, true)
  assert.equal((await files.stat('')).kind, 'directory')
})

test('a time that no Date can hold is null', { skip: !existsSync('/dev/shm') && 'no /dev/shm' }, async (t) => {
  const { files, root } = await volumeInMemory(t)
  for (const [seconds, expected] of [
    [8.64e12, new Date(8.64e15)],
    [8.64e12 + 1, null],
    [-8.64e12, new Date(-8.64e15)],
    [-8.64e12 - 1, null],
  ]) {
    writeFileSync(path.join(root, 'file'), '')
    execFileSync('touch', ['-d', `@${seconds}`, path.join(root, 'file')])
    const [entry] = await files.list('')
    assert.deepEqual(entry.modified, expected)
    assert.deepEqual((await files.stat('file')).modified, expected)
  }
})

test('a listing is a promise that resolves once, and an iterable that lists again each time', async (t) => {
  const { files } = await tempVolume(t)
  await files.writeString('a', '')
  const listing = files.list('')
  await files.writeString('b', '')
  assert.ok(listing instanceof Promise)
  const first = await listing
  await files.writeString('c', '')
  assert.equal(await listing, first)
  assert.deepEqual(pathsOf(first), ['a', 'b'])
  assert.deepEqual(pathsOf(await iterated(listing)).sort(), ['a', 'b', 'c'])
  assert.deepEqual(
    (await Promise.all([files.list(''), files.list('')])).map((entries) => entries.length),
    [3, 3],
  )
  assert.equal(await files.list('').then((entries) => entries.length), 3)
  let finished = 0
  assert.equal((await files.list('').finally(() => (finished += 1))).length, 3)
  assert.equal(await files.list('nope').catch(({ code }) => code), 'ENOENT')
  assert.equal(finished, 1)
})

test('a listing that is not awaited fails without a sign, and one with bad arguments does not throw', async (t) => {
  const { files } = await tempVolume(t)
  files.list('nope')
  for (const [listing, Class] of [
    [() => files.list('nope'), FileSystemError],
    [() => files.list('../x'), PathEscapeError],
    [() => files.list(1), InvalidConfigError],
    [() => files.list('', 1), InvalidConfigError],
    [() => files.list('', { depth: 1 }), InvalidConfigError],
    [() => files.list('', { recursive: 'yes' }), InvalidConfigError],
  ]) {
    await rejects(listing(), Class)
    await rejects(iterated(listing()), Class)
  }
})

test('later changes of the arguments have no effect', async (t) => {
  const { files } = await tempVolume(t)
  await files.mkdir('dir/sub')
  const bytes = Buffer.from('dir')
  const options = { recursive: true }
  const listing = files.list(bytes, options)
  bytes.fill(0)
  options.recursive = 'no'
  assert.deepEqual(pathsOf(await listing), ['dir/sub'])
})

test('awaited entries are sorted by the bytes of their names, directory by directory', async (t) => {
  const { files } = await tempVolume(t)
  const names = ['B', 'a', 'a.b', 'ab', 'é', '～', '😀']
  for (const name of names.toReversed()) {
    await files.mkdir(`${name}/x`)
  }
  assert.deepEqual(pathsOf(await files.list('')), names)
  const below = names.map((name) => `${name}/x`)
  assert.deepEqual(pathsOf(await files.list('', { recursive: true })), [...names, ...below])
  assert.deepEqual(
    pathsOf(await iterated(files.list('', { recursive: true }))).sort(),
    [...names, ...below].sort(),
  )
})

test('case 8: names that are not UTF-8 are listed, and addressed again by their bytes', async (t) => {
  const { files, root } = await tempVolume(t)
  const odd = (...texts) => Buffer.concat(texts.map((text) => Buffer.from(text, 'latin1')))
  await files.mkdir(odd('dir-\xff'))
  await files.write(odd('dir-\xff/plain'), 'one')
  await files.write(odd('dir-\xff/odd-\x80\xfe'), 'two')
  await files.write('é', 'three')
  for (const entries of [
    await files.list('', { recursive: true }),
    await iterated(files.list('', { recursive: true })),
  ]) {
    const found = Object.fromEntries(entries.map((entry) => [entry.path, entry.pathBytes]))
    assert.deepEqual(found, {
      'dir-\ufffd': odd('dir-\xff'),
      'dir-\ufffd/plain': odd('dir-\xff/plain'),
      'dir-\ufffd/odd-\ufffd\ufffd': odd('dir-\xff/odd-\x80\xfe'),
      é: null,
    })
    const contents = []
    for (const entry of entries.filter(({ kind }) => kind === 'file')) {
      const at = entry.pathBytes ?? entry.path
      assert.equal((await files.stat(at)).size, entry.size)
      contents.push(await files.readString(at))
    }
    assert.deepEqual(contents.sort(), ['one', 'three', 'two'])
  }
  const [dir] = await files.list('')
  await files.rename(dir.pathBytes, 'renamed')
  assert.deepEqual(pathsOf(await files.list('renamed')).length, 2)
  await files.rename('renamed', odd('\xff'))
  await files.removeAll(odd('\xff'))
  assert.deepEqual(readdirSync(root), ['é'])
})

test('an iteration that is left early holds no descriptor, however it is left', async (t) => {
  const { files, root } = await volumeInMemory(t)
  fill(path.join(root, 'dir'), 10_000)
  const reason = new Error('the reason')
  const ways = {
    break: async () => {
      for await (const _entry of files.list('', { recursive: true })) {
        assert.ok(descriptorsBelow(root) > 0)
        break
      }
    },
    throw: async () => {
      for await (const _entry of files.list('dir')) {
        throw reason
      }
    },
    'return before the first': () => files.list('dir')[Symbol.asyncIterator]().return(),
    'return with a call under way': async () => {
      const iterator = files.list('dir')[Symbol.asyncIterator]()
      const next = iterator.next()
      assert.equal((await iterator.return('x')).value, 'x')
      assert.equal((await next).value.kind, 'file')
      assert.deepEqual(await iterator.next(), { value: undefined, done: true })
    },
    abort: async () => {
      const controller = new AbortController()
      let count = 0
      for await (const _entry of files.list('dir', { signal: controller.signal })) {
        count += 1
        if (count === 10) {
          controller.abort(reason)
        }
        assert.ok(count <= 10)
      }
    },
    'abort while awaited': async () => {
      const controller = new AbortController()
      const listing = files.list('dir', { signal: controller.signal })
      setImmediate(() => controller.abort(reason))
      await listing
    },
    'an error': async () => {
      for await (const _entry of files.list('', { recursive: true })) {
        throw reason
      }
    },
    'its end': () => iterated(files.list('', { recursive: true })),
  }
  assert.ok(await files.exists('dir'))
  const held = descriptorsBelow(root)
  for (const [way, leave] of Object.entries(ways)) {
    await leave().catch((error) => assert.equal(error, reason, way))
    assert.equal(descriptorsBelow(root), held, way)
  }
})

test('an aborted listing rejects with the reason, and another one goes on', async (t) => {
  const { files } = await tempVolume(t)
  await files.mkdir('dir')
  const reason = new Error('the reason')
  const signal = AbortSignal.abort(reason)
  for (const attempt of [() => files.list('', { signal }), () => iterated(files.list('', { signal }))]) {
    await assert.rejects(async () => attempt(), (error) => error === reason)
  }
  assert.equal((await files.list('')).length, 1)
})

test('many listings at once each return their own entries', async (t) => {
  const { files, root } = await volumeInMemory(t)
  for (let index = 0; index < 40; index += 1) {
    fill(path.join(root, `${index}`), index * 100)
  }
  const lengths = await Promise.all(
    Array.from({ length: 40 }, async (_, index) => {
      const listing = files.list(`${index}`)
      return index % 2 ? (await listing).length : (await iterated(listing)).length
    }),
  )
  assert.deepEqual(
    lengths,
    Array.from({ length: 40 }, (_, index) => index * 100),
  )
})

test('renaming replaces a file in one step, and names both ends where it is refused', async (t) => {
  const { files, root } = await tempVolume(t)
  await files.writeString('from', 'new')
  await files.writeString('to', 'old')
  const { ino } = statSync(path.join(root, 'from'))
  await files.rename('from', 'to')
  assert.equal(statSync(path.join(root, 'to')).ino, ino)
  assert.equal(await files.exists('from'), false)
  const error = await rejects(files.rename('nope', 'dir/x'), FileSystemError, {
    code: 'ENOENT',
    syscall: 'rename',
    path: 'nope',
    dest: 'dir/x',
    volume: 'v',
  })
  assert.equal(error.message, 'ENOENT: no such file or directory, rename "nope" -> "dir/x" (volume "v")')
  await rejects(files.rename('to', '../x'), PathEscapeError, { path: '../x' })
})
