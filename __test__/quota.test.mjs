// Quotas: every way to write exactly up to the limit, and the enforcement by the kernel.
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { pipeline } from 'node:stream/promises'
import { test } from 'node:test'
import { QuotaExceededError, VolumeStore } from '../index.js'
import {
  isRoot,
  keepWaiting,
  lockName,
  occupyBlockingPool,
  rejects,
  shownOnce,
  tempDir,
  tempVolume,
  turn,
  withoutFlock,
} from './support.mjs'

const MIB = 2 ** 20
const BLOCK = 4096
const ADDED = 4 * BLOCK
const OLD = Buffer.alloc(BLOCK, 1)
const bytes = (length) => Buffer.alloc(length, 2)

const stream = (files, name, length, options) =>
  pipeline([bytes(1000), bytes(length - 1000)], files.writeStream(name, options))

/** Calls that each add `ADDED` bytes of blocks. `file` has so many, `longer` has one block more. */
const ways = {
  write: (files) => files.write('new', bytes(ADDED)),
  'write over': (files) => files.write('old', bytes(ADDED + BLOCK)),
  'atomic write': (files) => files.write('new', bytes(ADDED), { atomic: true }),
  'atomic write over': (files) => files.write('old', bytes(ADDED + BLOCK), { atomic: true }),
  writeString: (files) => files.writeString('new', 'x'.repeat(ADDED)),
  append: (files) => files.append('old', bytes(ADDED)),
  writeStream: (files) => stream(files, 'new', ADDED),
  'atomic writeStream': (files) => stream(files, 'new', ADDED, { atomic: true }),
  'atomic writeStream over': (files) => stream(files, 'old', ADDED + BLOCK, { atomic: true }),
  'appending writeStream': (files) => stream(files, 'old', ADDED, { append: true }),
  'writeStream from a position': (files) => stream(files, 'old', ADDED + 1000, { start: 3096 }),
  copy: (files) => files.copy('file', 'new'),
  'copy over': (files) => files.copy('longer', 'old'),
  copyIn: (files, host) => files.copyIn(path.join(host, 'file'), 'new'),
  'copyIn over': (files, host) => files.copyIn(path.join(host, 'longer'), 'old'),
  mkdir: (files) => files.mkdir('new/b/c/d'),
}

/** Creates a volume of 1 MiB with so much space left. */
async function withRoom(t, left) {
  const { store, files, root } = await tempVolume(t, { quotaMib: 1 })
  const host = tempDir(t)
  for (const dir of [root, host]) {
    writeFileSync(path.join(dir, 'file'), bytes(ADDED))
    writeFileSync(path.join(dir, 'longer'), bytes(ADDED + BLOCK))
  }
  writeFileSync(path.join(root, 'old'), OLD)
  const used = async () => (await store.getVolume('v')).usedBytes
  writeFileSync(path.join(root, 'ballast'), Buffer.alloc(MIB - (await used()) - left))
  assert.equal(await used(), MIB - left)
  return { files, root, host, used }
}

for (const [name, way] of Object.entries(ways)) {
  test(`case 45: ${name} up to the limit and not a block more`, async (t) => {
    const fits = await withRoom(t, ADDED)
    await way(fits.files, fits.host)
    assert.equal(await fits.used(), MIB)
    await rejects(fits.files.write('more', 'x'), QuotaExceededError, { volume: 'v', path: 'more' })

    const { files, root, host, used } = await withRoom(t, ADDED - BLOCK)
    await rejects(way(files, host), QuotaExceededError, { volume: 'v', code: 'ERR_QUOTA_EXCEEDED' })
    // A plain stream keeps the bytes that it wrote.
    if (!name.includes('writeStream') || name.startsWith('atomic')) {
      assert.equal(await used(), MIB - ADDED + BLOCK)
      assert.ok(!existsSync(path.join(root, 'new')))
      assert.deepEqual(readFileSync(path.join(root, 'old')), OLD)
    }
    assert.deepEqual(readdirSync(path.join(root, '../.staging')), [])
    await files.write('just fits', bytes(MIB - (await used())))
    assert.equal(await used(), MIB)
  })
}

/** Calls that create an entry without content, named "new". */
const withoutContent = {
  write: (files) => files.write('new', ''),
  'atomic write': (files) => files.write('new', '', { atomic: true }),
  append: (files) => files.append('new', ''),
  writeStream: (files) => pipeline([], files.writeStream('new')),
  'atomic writeStream': (files) => pipeline([], files.writeStream('new', { atomic: true })),
  'appending writeStream': (files) => pipeline([], files.writeStream('new', { append: true })),
  copy: (files) => files.copy('empty', 'new'),
  copyIn: (files, host) => files.copyIn(path.join(host, 'empty'), 'new'),
  'copyIn of a link': (files, host) => files.copyIn(path.join(host, 'with link'), ''),
}

for (const [name, way] of Object.entries(withoutContent)) {
  test(`case 45: ${name} of nothing is refused over the limit`, async (t) => {
    const { files, root, host } = await withRoom(t, BLOCK)
    for (const dir of [root, host]) writeFileSync(path.join(dir, 'empty'), '')
    mkdirSync(path.join(host, 'with link'))
    symlinkSync('empty', path.join(host, 'with link', 'new'))
    writeFileSync(path.join(root, 'guest'), bytes(2 * BLOCK))
    await rejects(way(files, host), QuotaExceededError, { volume: 'v' })
    assert.ok(!readdirSync(root).includes('new'))
    rmSync(path.join(root, 'guest'))
    await way(files, host)
    assert.ok(readdirSync(root).includes('new'))
  })
}

/** Waits until no thread works on the first step of a call, so that each call has come to its next queue. */
async function firstStepsEnd() {
  const fieldsOf = (task) => {
    try {
      return /\((.*)\) (.)/.exec(readFileSync(`/proc/self/task/${task}/stat`, 'utf8'))
    } catch {
      // The thread has ended.
      return []
    }
  }
  const areIdle = () =>
    readdirSync('/proc/self/task').map(fieldsOf).every(([, name, state]) => name !== 'volumes-fast' || state === 'S')
  // A thread that waits for a mutex looks idle too, but not for long.
  for (let idle = 0; idle < 10; idle = areIdle() ? idle + 1 : 0) {
    await turn()
  }
}

test('a write comes after earlier ones of its volume that are queued', { skip: withoutFlock }, async (t) => {
  const { store, files } = await tempVolume(t, { quotaMib: 1 })
  await files.write('f', 'old')
  const occupied = await occupyBlockingPool(t, store)
  const releaseQuota = await lockName(t, store, 'v~quota')
  const settled = []
  const calls = []
  const call = async (name, promise) => {
    calls.push(promise.finally(() => settled.push(name)))
    await firstStepsEnd()
  }
  try {
    await call('a', files.append('f', 'a'))
    await call('b', files.append('f', 'b'))
    await releaseQuota()
    // The lock is free now, but the appends have no thread.
    await call('write', files.write('f', 'x'))
    await call('c', files.append('f', 'c'))
    await call('d', files.append('f', 'd'))
  } finally {
    await releaseQuota()
    await occupied.release()
    await occupied.waiting.outcomes
  }
  // On a busy machine the other calls give up early, and the appends wait for the lock until they time out.
  const failures = (await Promise.allSettled(calls)).filter(({ status }) => status === 'rejected')
  assert.deepEqual(failures.filter(({ reason }) => reason.code !== 'ERR_VOLUME_IN_USE'), [])
  assert.deepEqual(settled, ['a', 'b', 'write', 'c', 'd'])
  if (failures.length === 0) assert.equal(await files.readString('f'), 'xcd')
})

test('a write does not wait for calls that wait for the name of its volume', { skip: withoutFlock }, async (t) => {
  const { store, files } = await tempVolume(t, { quotaMib: 1 })
  // The first write creates the lock files of the quota under the lock of the name.
  await files.write('f', 'old')
  const release = await lockName(t, store, 'v')
  const waiting = keepWaiting(1, () => store.createVolume('v'))
  try {
    await shownOnce(async () => {
      const { ended } = waiting
      await files.write('f', 'x')
      await files.append('f', 'y')
      return waiting.ended === ended
    }, 'a write waited for a call that waits for the name')
  } finally {
    await release()
    await waiting.outcomes
  }
  assert.equal(await files.readString('f'), 'xy')
})

const hasTools = spawnSync('mkfs.btrfs', ['--version']).status === 0
const withoutBtrfs = isRoot && hasTools ? false : 'a btrfs on a loop device needs root and mkfs.btrfs'
if (process.env.CI === 'true') assert.equal(withoutBtrfs, false)

/** Creates a btrfs file system with quotas for this test. */
function btrfs(t) {
  const [image, mounted] = [path.join(tempDir(t), 'image'), tempDir(t)]
  writeFileSync(image, '')
  execFileSync('truncate', ['-s', '256M', image])
  execFileSync('mkfs.btrfs', ['-q', image])
  execFileSync('mount', ['-o', 'loop,commit=1', image, mounted])
  // The store keeps it open as long as this process runs.
  const unmount = () => execFileSync('umount', ['--lazy', mounted])
  execFileSync('btrfs', ['quota', 'enable', mounted])
  return { mounted, unmount }
}

test('the kernel stops a process that fills a volume, and a host write fails as with the quota of the store', { skip: withoutBtrfs }, async (t) => {
  const { mounted, unmount } = btrfs(t)
  try {
    const store = await VolumeStore.open({ home: path.join(mounted, 'home') })
    const volume = await store.createVolume('v', { quotaMib: 8 })
    const files = volume.fs()
    assert.equal((await store.getVolume('v')).quotaEnforcement, 'kernel')

    mkdirSync(path.join(volume.path, 'dir'))
    const guest = spawnSync('dd', ['if=/dev/zero', 'of=guest', 'bs=64K', 'count=256', 'conv=fsync'], {
      cwd: volume.path,
      encoding: 'utf8',
      env: { ...process.env, LC_ALL: 'C' },
    })
    assert.notEqual(guest.status, 0)
    assert.match(guest.stderr, /quota exceeded/i)
    const { size } = statSync(path.join(volume.path, 'guest'))
    assert.ok(size <= 8 * MIB, `${size}`)

    for (const options of [{}, { atomic: true }]) {
      for (const call of [
        () => files.write('new', bytes(4 * MIB), options),
        () => files.write('guest', bytes(9 * MIB), options),
        () => stream(files, 'new', 4 * MIB, { ...options }),
      ]) {
        await rejects(call(), QuotaExceededError, { volume: 'v', message: /quota of volume "v"/ })
      }
      await files.removeAll('new')
    }
    await rejects(files.append('new', bytes(4 * MIB)), QuotaExceededError)
    await rejects(files.copy('guest', 'copied'), QuotaExceededError)
    assert.deepEqual(readdirSync(volume.path).sort(), ['dir', 'guest'])
    assert.equal(statSync(path.join(volume.path, 'guest')).size, size)

    await files.remove('guest')
    await files.write('new', bytes(3 * MIB), { atomic: true })
    await files.write('new', bytes(2 * MIB), { atomic: true })
    await stream(files, 'streamed', MIB, { atomic: true })
    assert.deepEqual(await files.read('new'), bytes(2 * MIB))
    assert.deepEqual(readdirSync(volume.path).sort(), ['dir', 'new', 'streamed'])
    await volume.remove()
  } finally {
    unmount()
  }
})
