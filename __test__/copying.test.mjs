// copy, copyIn, copyOut and append: options, progress, filters, cancellation.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { FileSystemError, InvalidConfigError, PathEscapeError, QuotaExceededError } from '../index.js'
import { outputOf, rejects, snapshot, tempDir, tempVolume, turn } from './support.mjs'

/** Creates a tree of `directories` with `each` files in each. */
function plant(dir, directories = 3, each = 5) {
  for (let at = 0; at < directories; at++) {
    mkdirSync(path.join(dir, `dir-${at}/empty`), { recursive: true })
    for (let file = 0; file < each; file++) {
      writeFileSync(path.join(dir, `dir-${at}/${file}`), `${at} ${file}`)
    }
  }
  return dir
}

async function seeded(t, ...options) {
  const host = tempDir(t)
  plant(path.join(host, 'tree'))
  return { host, tree: path.join(host, 'tree'), ...(await tempVolume(t, ...options)) }
}

test('a tree goes in, is copied, and comes out again, and each says what was copied', async (t) => {
  const { host, tree, files, root } = await seeded(t)
  symlinkSync('dir-0/1', path.join(tree, 'link'))
  const summary = { files: 16, bytes: 45, skippedLinks: 0 }
  assert.deepEqual(await files.copyIn(tree, 'in'), summary)
  assert.equal(await files.copy('in', 'copied'), undefined)
  assert.deepEqual(await files.copyOut('copied', path.join(host, 'out')), summary)
  for (const made of [path.join(root, 'in'), path.join(root, 'copied'), path.join(host, 'out')]) {
    assert.deepEqual(snapshot(made), snapshot(tree))
  }
})

test('a relative host path starts at the current directory', async (t) => {
  const host = tempDir(t)
  const output = await outputOf(
    `
    const { VolumeStore } = await import(process.env.SV)
    const fs = await import('node:fs')
    process.chdir(process.env.HOST)
    fs.writeFileSync('seed', 'from here')
    const store = await VolumeStore.open({ home: process.env.HOST + '/home', durability: 'fast' })
    const files = (await store.createVolume('v')).fs()
    await files.copyIn('seed', 'f')
    const out = files.copyOut('f', 'out')
    process.chdir('/')
    await out
    console.log(fs.readFileSync(process.env.HOST + '/out', 'utf8'))`,
    { env: { HOST: host } },
  )
  assert.equal(output, 'from here\n')
})

test('options of a wrong kind, and host paths that name nothing, are refused by name', async (t) => {
  const { tree, files } = await seeded(t)
  for (const [options, field] of [
    [{ links: 'follow' }, 'links'],
    [{ links: 1 }, 'links'],
    [{ filter: true }, 'filter'],
    [{ onProgress: {} }, 'onProgress'],
    [{ recursive: true }, 'recursive'],
    [{ signal: 1 }, 'signal'],
    ['skip', 'options'],
  ]) {
    await rejects(files.copyIn(tree, 'x', options), InvalidConfigError, { field })
    await rejects(files.copyOut('', path.join(tree, 'x'), options), InvalidConfigError, { field })
  }
  await rejects(files.copy('a', 'b', { links: 'skip' }), InvalidConfigError, { field: 'links' })
  for (const hostPath of ['', 'a\0b', undefined, 1]) {
    await rejects(files.copyIn(hostPath, 'x'), InvalidConfigError, { field: 'hostPath' })
    await rejects(files.copyOut('', hostPath), InvalidConfigError, { field: 'hostPath' })
  }
  const missing = path.join(tree, 'missing')
  await rejects(files.copyIn(missing, 'x'), FileSystemError, { code: 'ENOENT', path: missing })
  await rejects(files.copyOut('x', tree), FileSystemError, { code: 'ENOENT', path: 'x', volume: 'v' })
  assert.deepEqual(await files.copyIn(tree, 'made', { links: null, filter: null, onProgress: null, signal: null }), {
    files: 15,
    bytes: 45,
    skippedLinks: 0,
  })
})

test('a link that leads out is refused by its name, or skipped and counted', async (t) => {
  const { host, tree, files, root } = await seeded(t)
  symlinkSync('/etc/passwd', path.join(tree, 'dir-1/out'))
  const where = path.join(tree, 'dir-1/out')
  await rejects(files.copyIn(tree, 'made'), PathEscapeError, { path: where, message: /copied tree/ })
  assert.deepEqual(readdirSync(root), [])
  assert.equal((await files.copyIn(tree, 'made', { links: 'skip' })).skippedLinks, 1)
  symlinkSync('../../..', path.join(root, 'made/out'))
  await rejects(files.copyOut('made', path.join(host, 'x')), PathEscapeError, { path: 'made/out', volume: 'v' })
  assert.ok(!existsSync(path.join(host, 'x')))
})

test('an entry that is not a file is refused by its name', async (t) => {
  const { host, tree, files } = await seeded(t)
  execFileSync('mkfifo', [path.join(tree, 'dir-2/fifo')])
  const refusal = { code: 'ENOTSUP', path: path.join(tree, 'dir-2/fifo') }
  await rejects(files.copyIn(tree, 'made'), FileSystemError, refusal)
  const kinds = []
  const filter = (relPath, kind) => (kinds.push(kind), kind !== 'other')
  assert.equal((await files.copyIn(tree, 'made', { filter })).files, 15)
  assert.deepEqual([...new Set(kinds)].sort(), ['directory', 'file', 'other'])
  assert.deepEqual(readdirSync(host), ['tree'])
})

test('a filter is asked once for each entry below the top, and what it declines is left out', async (t) => {
  const { tree, files, root } = await seeded(t)
  const asked = []
  const filter = (relPath, kind) => {
    asked.push(relPath)
    return relPath !== 'dir-1' && !relPath.endsWith('3') && (kind === 'directory' || relPath !== 'dir-2/0')
  }
  const { files: copied } = await files.copyIn(tree, 'made', { filter })
  assert.equal(copied, 7)
  const below = Object.keys(snapshot(tree)).filter((relPath) => !relPath.startsWith('dir-1/'))
  assert.deepEqual(asked.sort(), below)
  assert.deepEqual(
    Object.keys(snapshot(path.join(root, 'made'))),
    below.filter((relPath) => relPath !== 'dir-1' && !relPath.endsWith('3') && relPath !== 'dir-2/0'),
  )
})

test('a filter that throws, or answers later, ends the copy and leaves nothing', async (t) => {
  const { host, tree, files, root } = await seeded(t)
  const reason = new Error('from the filter')
  for (const call of [
    (options) => files.copyIn(tree, 'made', options),
    (options) => files.copyOut('there', path.join(host, 'made'), options),
  ]) {
    await files.removeAll('there')
    await files.copyIn(tree, 'there')
    let calls = 0
    const throwing = () => {
      if (++calls === 4) {
        throw reason
      }
      return true
    }
    await assert.rejects(call({ filter: throwing }), (error) => error === reason)
    assert.equal(calls, 4)
    await rejects(call({ filter: async () => true }), InvalidConfigError, { field: 'filter' })
    assert.deepEqual([readdirSync(root), readdirSync(host)], [['there'], ['tree']])
  }
})

test('progress grows to what was copied, at most every 50 ms', async (t) => {
  const { host, files } = await seeded(t)
  plant(path.join(host, 'many'), 40, 50)
  const reported = []
  // The clock advances one millisecond for each filter request.
  t.mock.timers.enable({ apis: ['setInterval'] })
  let clock = 0
  const filter = () => {
    clock += 1
    t.mock.timers.tick(1)
    return true
  }
  const onProgress = (progress) => reported.push({ ...progress, clock })
  const summary = await files.copyIn(path.join(host, 'many'), 'made', { filter, onProgress })
  assert.equal(summary.files, 2000)
  const between = reported.slice(0, -1)
  assert.ok(between.length >= 1, `${between.length} times`)
  assert.ok(between.every((progress) => progress.clock % 50 === 0))
  assert.equal(new Set(between.map((progress) => progress.clock)).size, between.length)
  const last = reported.at(-1)
  assert.deepEqual([last.files, last.bytes], [summary.files, summary.bytes])
  assert.match(last.path, /^dir-\d+\/\d+$/)
  for (const [at, { files: count, bytes }] of reported.entries()) {
    assert.ok(at === 0 || (count >= reported[at - 1].files && bytes >= reported[at - 1].bytes))
  }
  const single = []
  await files.copyIn(path.join(host, 'many/dir-0/0'), 'f', { onProgress: (progress) => single.push(progress) })
  assert.deepEqual(single, [{ files: 1, bytes: 3, path: '' }])
})

test('what onProgress throws is what the caller gets', async (t) => {
  const { host, files, root } = await seeded(t)
  writeFileSync(path.join(host, 'large'), Buffer.alloc(1 << 20, 1))
  const reason = new Error('from onProgress')
  const onProgress = () => {
    throw reason
  }
  await assert.rejects(files.copyIn(path.join(host, 'tree'), 'made', { onProgress }), (error) => error === reason)
  assert.deepEqual(readdirSync(root), [])
  const { files: count } = await files.copyIn(path.join(host, 'tree'), 'made')
  assert.equal(count, 15)
  assert.deepEqual(readdirSync(root), ['made'])
})

test('case 61: a copy whose callback throws at its last call leaves nothing', async (t) => {
  for (const options of [{}, { quotaMib: 8 }]) {
    const { host, tree, files, root } = await seeded(t, options)
    const outside = path.join(host, 'outside')
    mkdirSync(outside)
    await files.copyIn(tree, 'tree')
    writeFileSync(path.join(outside, 'old'), 'old')
    await files.writeString('old', 'old')
    const seen = () => [snapshot(root), snapshot(outside), readdirSync(path.join(root, '../.staging'))]
    const before = seen()
    const reason = new Error('at the last call')
    const one = path.join('dir-0', '0')
    const transfers = [
      [15, (settings) => files.copyIn(tree, 'made', settings)],
      [15, (settings) => files.copyOut('tree', path.join(outside, 'made'), settings)],
      [1, (settings) => files.copyIn(path.join(tree, one), 'made', settings)],
      [1, (settings) => files.copyIn(path.join(tree, one), 'old', settings)],
      [1, (settings) => files.copyOut(path.join('tree', one), path.join(outside, 'made'), settings)],
      [1, (settings) => files.copyOut(path.join('tree', one), path.join(outside, 'old'), settings)],
    ]
    for (const [count, transfer] of transfers) {
      const atTheEnd = (progress) => {
        if (progress.files === count) throw reason
      }
      await assert.rejects(transfer({ onProgress: atTheEnd }), (error) => error === reason)
      assert.deepEqual(seen(), before)
      // An abort during the last call is still before the commit point.
      const controller = new AbortController()
      const aborts = (progress) => progress.files === count && controller.abort(reason)
      await assert.rejects(transfer({ onProgress: aborts, signal: controller.signal }), (error) => error === reason)
      assert.deepEqual(seen(), before)
    }
    for (const [, transfer] of transfers.slice(0, 2)) {
      let asked = 0
      await transfer({ filter: () => Boolean((asked += 1)) })
      await files.removeAll('made')
      rmSync(path.join(outside, 'made'), { recursive: true, force: true })
      const atTheEnd = () => {
        if (--asked === 0) throw reason
        return true
      }
      await assert.rejects(transfer({ filter: atTheEnd }), (error) => error === reason)
      assert.deepEqual(seen(), before)
    }
  }
})

test('an aborted copy rejects with the reason and leaves nothing', async (t) => {
  const { host, tree, files, root } = await seeded(t)
  await files.copyIn(tree, 'there')
  const before = [snapshot(root), readdirSync(host)]
  const reason = new Error('enough')
  const aborted = AbortSignal.abort(reason)
  const calls = [
    (signal, more) => files.copyIn(tree, 'made', { signal, ...more }),
    (signal, more) => files.copyOut('there', path.join(host, 'made'), { signal, ...more }),
  ]
  for (const call of [...calls, (signal) => files.copy('there', 'made', { signal }), (signal) => files.append('f', 'x', { signal })]) {
    await assert.rejects(call(aborted), (error) => error === reason)
  }
  for (const call of calls) {
    const controller = new AbortController()
    let asked = 0
    const filter = () => {
      if (++asked === 5) {
        controller.abort(reason)
      }
      return true
    }
    await assert.rejects(call(controller.signal, { filter }), (error) => error === reason)
    assert.deepEqual([snapshot(root), readdirSync(host)], before)
  }
})

test('a copy that is aborted within a large file leaves nothing', async (t) => {
  const { host, files, root } = await seeded(t)
  const large = path.join(host, 'large')
  writeFileSync(large, Buffer.alloc(64 << 20, 1))
  const controller = new AbortController()
  const reason = new Error('enough')
  const call = files.copyIn(large, 'made', { signal: controller.signal })
  controller.abort(reason)
  await assert.rejects(call, (error) => error === reason)
  assert.deepEqual(readdirSync(root), [])
})

test('case 45: what a copy takes is held against the quota, and one over it leaves nothing', async (t) => {
  const { host, files, root } = await seeded(t, { quotaMib: 1 })
  writeFileSync(path.join(host, 'tree/large'), Buffer.alloc(1 << 20, 1))
  await rejects(files.copyIn(path.join(host, 'tree'), 'made'), QuotaExceededError, { volume: 'v', path: 'made/large' })
  assert.deepEqual(readdirSync(root), [])
  const free = (1 << 20) - statSync(root).blocks * 512
  await files.write('f', Buffer.alloc(free - 4096))
  await files.append('f', Buffer.alloc(4096, 2))
  await rejects(files.append('f', 'x'), QuotaExceededError, { path: 'f' })
  await rejects(files.copy('f', 'g'), QuotaExceededError, { path: 'g' })
  assert.deepEqual(readdirSync(root), ['f'])
})

test('case 12: a hole of 64 GiB costs nothing', async (t) => {
  const { host, files, root } = await seeded(t)
  const hole = path.join(host, 'hole')
  writeFileSync(hole, '')
  truncateSync(hole, 64 * 2 ** 30)
  assert.equal((await files.copyIn(hole, 'hole')).bytes, 64 * 2 ** 30)
  await files.copy('hole', 'copied')
  const { size, blocks } = lstatSync(path.join(root, 'copied'))
  assert.deepEqual([size, blocks], [64 * 2 ** 30, 0])
})

test('the event loop turns while a tree is copied', async (t) => {
  const { host, files } = await seeded(t)
  plant(path.join(host, 'many'), 40, 50)
  let [turns, done] = [0, false]
  const copying = files.copyIn(path.join(host, 'many'), 'made').finally(() => (done = true))
  while (!done) {
    await turn()
    turns++
  }
  await copying
  assert.ok(turns > 10, `${turns} turns`)
})

test('append adds bytes and text to the end, also through many calls at once', async (t) => {
  const { files, root } = await tempVolume(t)
  await files.append('log', 'one ', { durable: true, mode: 0o600 })
  await files.append('log', Buffer.from('two'))
  assert.equal(readFileSync(path.join(root, 'log'), 'utf8'), 'one two')
  assert.equal(statSync(path.join(root, 'log')).mode & 0o7777, 0o600)
  const large = Buffer.alloc(100_000, 'x')
  await Promise.all(Array.from({ length: 50 }, (_, at) => files.append('many', at % 2 ? large : 'short')))
  assert.equal(statSync(path.join(root, 'many')).size, 25 * 100_005)
  await rejects(files.append('log', 1), InvalidConfigError, { field: 'data' })
  await rejects(files.append('log', 'x', { atomic: true }), InvalidConfigError, { field: 'atomic' })
  await rejects(files.append('log', 'x', { mode: 0o10000 }), InvalidConfigError, { field: 'mode' })
})
