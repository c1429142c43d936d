// Short operations during many long ones: no short operation waits for any number of running copies.
import assert from 'node:assert/strict'
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { VolumeInUseError, VolumeNotFoundError, VolumeStore } from '../index.js'
import { abortAll, everyShortOperation, everyShortOperationBeside, plantedTree } from './availability-support.mjs'
import { leaseFile, withoutLeases } from './lease-support.mjs'
import {
  changeCatalog,
  keepWaiting,
  lockFile,
  lockName,
  rejects,
  shownOnce,
  tempDir,
  tempStore,
  withoutFlock,
  withoutSqlite,
} from './support.mjs'

const MIB = 1 << 20

for (const count of [17, 64, 256]) {
  test(
    `case 54: ${count} copies that wait for a volume with a quota hold up nothing`,
    { skip: withoutFlock },
    async (t) => {
      const store = await tempStore(t)
      const tree = plantedTree(t)
      const files = (await store.createVolume('locked', { quotaMib: 64 })).fs()
      const release = await lockFile(t, path.join(store.home, 'volumes', '.locks', 'locked~quota.lock'))
      const controller = new AbortController()
      const { signal } = controller
      const waiting = keepWaiting(count, (at) => files.copyIn(tree, `copy-${at}`, { signal }))
      await everyShortOperationBeside(waiting, store)
      await abortAll(waiting, controller)
      await release()
      assert.deepEqual(await files.list(''), [])
      assert.equal((await files.copyIn(tree, 'copied')).files, 2)
    },
  )
}

for (const count of [17, 64, 256]) {
  test(
    `case 54: ${count} copies that wait for the holder of a lease hold up nothing`,
    { skip: withoutLeases },
    async (t) => {
      const store = await tempStore(t)
      const tree = plantedTree(t)
      const files = (await store.createVolume('v')).fs()
      const { asked, release } = await leaseFile(t, path.join(tree, 'a', 'file'))
      let ended = 0
      const copies = Array.from({ length: count }, (_, at) =>
        files.copyIn(tree, `copy-${at}`).finally(() => (ended += 1)),
      )
      const settled = Promise.all(copies)
      await asked
      await everyShortOperation(store)
      assert.equal(ended, 0, 'the lease was held all the while')
      await release()
      assert.ok((await settled).every((copied) => copied.files === 2))
    },
  )
}

/**
 * Copies that wait for a lease are replaced by up to 256 threads (`MAX_REPLACED` in executor.rs). Further ones take
 * all 128.
 */
const COPIES_ON_ALL_THREADS = 256 + 128
const COPIES_OF_A_VOLUME = 16

test('case 54: copies that wait for their turn end when they are aborted', { skip: withoutLeases }, async (t) => {
  const count = COPIES_ON_ALL_THREADS / COPIES_OF_A_VOLUME
  // With a slot for each copy, all of them reach the file.
  const store = await tempStore(t, { maxConcurrentCopies: 64 })
  const tree = plantedTree(t)
  const { asked, release } = await leaseFile(t, path.join(tree, 'a', 'file'))
  const volumes = []
  for (let at = 0; at <= count; at += 1) {
    volumes.push(await store.createVolume(`v-${at}`))
  }
  let ended = 0
  const start = (volume, copies, options) =>
    Array.from({ length: copies }, (_, at) => volume.fs().copyIn(tree, `copy-${copies}-${at}`, options))
  const copies = volumes.slice(0, count).flatMap((volume) => start(volume, COPIES_OF_A_VOLUME))
  copies.forEach((copy) => copy.finally(() => (ended += 1)))
  await asked
  // The other copies wait until a copy of their volume ends, or until any copy ends.
  const controller = new AbortController()
  const waiting = [volumes[0], volumes[count]].flatMap((volume) => start(volume, 20, { signal: controller.signal }))
  controller.abort('mine')
  const reasons = (await Promise.allSettled(waiting)).map(({ reason }) => reason)
  assert.deepEqual(new Set(reasons), new Set(['mine']))
  assert.equal(ended, 0, 'the lease was held all the while')
  await release()
  assert.ok((await Promise.all(copies)).every((copied) => copied.files === 2))
})

test(
  'case 70: operations on a file that a guest holds a lease on wait for it, abortable, and hold up nothing',
  { skip: withoutLeases },
  async (t) => {
    for (const options of [{}, { quotaMib: 64 }]) {
      const store = await tempStore(t)
      const volume = await store.createVolume('v', options)
      const files = volume.fs()
      await files.writeString('f', 'old')
      const { asked, release } = await leaseFile(t, path.join(volume.path, 'f'))
      const kinds = [
        (signal) => files.readString('f', { signal }),
        (signal) => files.append('f', 'x', { signal }),
        (signal) => files.append('f', Buffer.alloc(MIB, 'x'), { signal }),
        (signal) => files.append('f', 'x', { durable: true, signal }),
        (signal) => files.writeString('f', 'x', { signal }),
        (signal) => files.write('f', Buffer.alloc(MIB, 'x'), { signal }),
        (signal) => files.copyOut('f', path.join(tempDir(t), 'out'), { signal }),
        (signal) => files.read('f', { signal }),
        (signal) => drained(files.readStream('f', { signal })),
      ]
      const controller = new AbortController()
      let ended = 0
      const start = (count, signal) =>
        Array.from({ length: count }, (_, at) => kinds[at % kinds.length](signal).finally(() => (ended += 1)))
      const [aborted, others] = [start(36, controller.signal), start(72)]
      const settled = Promise.allSettled([...aborted, ...others])
      await asked
      await everyShortOperation(store)
      assert.equal(ended, 0, 'the lease was held all the while')
      controller.abort(new Error('enough'))
      assert.ok((await Promise.allSettled(aborted)).every(({ status }) => status === 'rejected'))
      assert.equal(ended, aborted.length)
      await release()
      const failed = (await settled).slice(aborted.length).filter(({ status }) => status === 'rejected')
      assert.deepEqual(failed.map(({ reason }) => reason), [])
      await files.writeString('f', 'new')
    }
  },
)

/** Reads a stream to its end. */
async function drained(stream) {
  for await (const _ of stream);
}

for (const options of [{}, { quotaMib: 64 }]) {
  test(`case 54: 256 copies at once all succeed, ${JSON.stringify(options)}`, async (t) => {
    const store = await tempStore(t, { maxConcurrentCopies: 3 })
    const tree = plantedTree(t)
    const files = (await store.createVolume('v', options)).fs()
    const copies = Array.from({ length: 256 }, (_, at) => files.copyIn(tree, `copy-${at}`, at % 2 ? { filter: () => true } : {}))
    await everyShortOperation(store)
    assert.ok((await Promise.all(copies)).every((copied) => copied.files === 2))
    assert.equal((await files.list('', { recursive: true })).length, 256 * 5)
  })
}

test(
  'writes into 64 volumes whose locks another process holds hold up nothing',
  { skip: withoutFlock },
  async (t) => {
    const store = await tempStore(t)
    const locked = []
    // One after the other: at once, some would give up on a busy machine, because the others write the catalog.
    for (let at = 0; at < 64; at += 1) {
      const volume = await store.createVolume(`locked-${at}`, { quotaMib: 1 })
      const lock = path.join(store.home, 'volumes', '.locks', `locked-${at}~quota.lock`)
      locked.push({ files: volume.fs(), lock })
    }
    await Promise.all(locked.map(({ lock }) => lockFile(t, lock)))
    const controller = new AbortController()
    const { signal } = controller
    const waiting = keepWaiting(locked.length, (at) => locked[at].files.writeString('f', 'x', { signal }))
    await everyShortOperationBeside(waiting, store)
    await abortAll(waiting, controller)
  },
)

test('maxConcurrentCopies may be one, and a copy that asks does not keep the others from their turns', async (t) => {
  const home = path.join(tempDir(t), 'home')
  const store = await VolumeStore.open({ home, durability: 'fast', maxConcurrentCopies: 1 })
  const tree = plantedTree(t)
  const files = (await store.createVolume('v')).fs()
  let second
  const filter = () => {
    second ??= files.copyIn(tree, 'second')
    return true
  }
  assert.equal((await files.copyIn(tree, 'first', { filter })).files, 2)
  assert.equal((await second).files, 2)
})

test(
  'streams that wait for their turns at a volume hold up no large write into another',
  { skip: withoutFlock, timeout: 240_000 },
  async (t) => {
    const store = await tempStore(t)
    const files = (await store.createVolume('limited', { quotaMib: 400 })).fs()
    const other = (await store.createVolume('other')).fs()
    const content = Buffer.alloc(24 * MIB, 'x')
    await shownOnce(async () => {
      const streams = Array.from({ length: 8 }, (_, at) => files.writeStream(`streamed-${at}`))
      // What ends one is known by the callbacks.
      streams.forEach((stream) => stream.on('error', () => {}))
      await Promise.all(streams.map((stream) => new Promise((resolve) => stream.write('x', resolve))))
      const release = await lockName(t, store, 'limited~quota')
      let ended = 0
      const end = (stream) => new Promise((resolve) => stream.end(content, resolve)).finally(() => (ended += 1))
      const written = streams.map(end)
      for (let n = 0; n < 4; n += 1) {
        await other.write('large', content)
      }
      const isShown = ended === 0
      assert.equal((await other.stat('large')).size, content.length)
      await release()
      const errors = await Promise.all(written)
      for (const [at, error] of errors.entries()) {
        // One may have given up on a busy machine.
        assert.ok(!error || error.code === 'ERR_VOLUME_IN_USE', error)
        if (!error) assert.equal((await files.stat(`streamed-${at}`)).size, 1 + content.length)
      }
      return isShown
    }, 'the writes ended only after streams')
  },
)

test(
  'the abort of operations that wait for a lease does not wait for reads that came before',
  { skip: withoutLeases, timeout: 240_000 },
  async (t) => {
    const store = await tempStore(t)
    const volume = await store.createVolume('v')
    const files = volume.fs()
    await files.writeString('f', 'old')
    const content = Buffer.alloc(8 * MIB, 'x')
    await files.write('large', content)
    const [reads, writes] = [128, 32]
    await shownOnce(async () => {
      const { asked, release } = await leaseFile(t, path.join(volume.path, 'f'))
      const controller = new AbortController()
      const { signal } = controller
      // At any moment some of them pause, and some wait for a thread.
      const aborted = Array.from({ length: writes }, () => files.write('f', content, { signal }))
      const outcomes = Promise.allSettled(aborted)
      await asked
      // It takes the way of those before it, which have all found the lease when it ends.
      await files.write('other', content)
      let ended = 0
      const all = Array.from({ length: reads }, () => files.read('large').then(() => (ended += 1)))
      await Promise.race(all)
      controller.abort('mine')
      const reasons = (await outcomes).map(({ reason }) => reason)
      // Behind all reads, the last one would begin when at most 16 of them, one on each thread, have not ended.
      const isShown = ended < reads - 20
      assert.deepEqual(new Set(reasons), new Set(['mine']))
      await Promise.all(all)
      await release()
      return isShown
    }, 'they ended only after the reads')
  },
)

test(
  'case 70: writes, appends and streams that wait for a lease hold up no other writer of a volume with a quota',
  { skip: withoutLeases, timeout: 120_000 },
  async (t) => {
    const store = await tempStore(t)
    const volume = await store.createVolume('v', { quotaMib: 64 })
    const files = volume.fs()
    await files.writeString('f', 'old')
    const { asked, release } = await leaseFile(t, path.join(volume.path, 'f'))
    const kinds = [
      (signal) => files.writeString('f', 'x', { signal }),
      (signal) => files.append('f', 'x', { signal }),
      (signal) => finished(files.writeStream('f', { signal }), 'x'),
      (signal) => finished(files.writeStream('f', { append: true, signal }), 'x'),
    ]
    let ended = 0
    const controller = new AbortController()
    const start = (signal) =>
      Array.from({ length: 40 }, (_, at) => kinds[at % kinds.length](signal).finally(() => (ended += 1)))
    const [aborted, others] = [start(controller.signal), start()]
    const settled = Promise.allSettled([...aborted, ...others])
    await asked
    for (let n = 0; n < 5; n += 1) {
      await files.append('other', 'x')
      await files.write('another', Buffer.alloc(2 * MIB))
      await files.mkdir(`dir-${n}`)
      await finished(files.writeStream('streamed'), Buffer.alloc(MIB))
    }
    assert.equal(ended, 0, 'the lease was held all the while')
    controller.abort(new Error('enough'))
    assert.ok((await Promise.allSettled(aborted)).every(({ status }) => status === 'rejected'))
    assert.equal(ended, aborted.length)
    await release()
    const failed = (await settled).slice(aborted.length).filter(({ status }) => status === 'rejected')
    assert.deepEqual(failed.map(({ reason }) => reason), [])
    assert.equal(await files.readString('other'), 'xxxxx')
  },
)

test(
  'case 70: however many reads and writes wait for a lease, those of other files go on',
  { skip: withoutLeases, timeout: 120_000 },
  async (t) => {
    const store = await tempStore(t)
    const volume = await store.createVolume('v')
    const files = volume.fs()
    await files.writeString('f', 'old')
    const { asked, release } = await leaseFile(t, path.join(volume.path, 'f'))
    const kinds = [
      () => files.readString('f'),
      () => drained(files.readStream('f')),
      () => files.append('f', 'x'),
      () => files.write('f', Buffer.alloc(2 * MIB)),
      () => finished(files.writeStream('f'), 'x'),
    ]
    let ended = 0
    const waiting = Array.from({ length: 600 }, (_, at) => kinds[at % kinds.length]().finally(() => (ended += 1)))
    const settled = Promise.all(waiting)
    await asked
    await everyShortOperation(store)
    assert.equal(ended, 0, 'the lease was held all the while')
    await release()
    await settled
  },
)

const LARGE_REMOVAL =
  'case 57: a large removal that a dead process left is finished by the call that meets it, and waited for by a creation'

test(LARGE_REMOVAL, { skip: withoutSqlite() }, async (t) => {
  const store = await tempStore(t)
  const volume = await store.createVolume('v')
  const many = path.join(volume.path, 'many')
  mkdirSync(many)
  for (let n = 0; n < 2_000; n += 1) {
    writeFileSync(path.join(many, `a long name ${n}`), '')
  }
  changeCatalog(store.home, "INSERT INTO intent (volume_id, action, entry) SELECT id, 'remove', 'v~1-1-1' FROM volume")
  await rejects(store.getVolume('v'), VolumeNotFoundError)
  assert.deepEqual(await store.listVolumes(), [])
  const aborted = store.createVolume('v', { signal: AbortSignal.abort('mine') })
  await assert.rejects(aborted, (error) => error === 'mine')
  let again
  while (!again) {
    again = await store.createVolume('v').catch((error) => assert.ok(error instanceof VolumeInUseError, error))
  }
  assert.deepEqual(await again.fs().list(''), [])
  assert.deepEqual(readdirSync(path.join(store.home, 'volumes', '.trash')), [])
  assert.notEqual(again.id, volume.id)
})

/** Writes to a stream, and waits for its end. */
function finished(stream, content) {
  return new Promise((resolve, reject) => {
    stream.on('error', reject)
    stream.end(content, (error) => (error ? reject(error) : resolve()))
  })
}
