import assert from 'node:assert/strict'
import { getEventListeners } from 'node:events'
import { existsSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import * as sandboxVolumes from '../index.js'
import {
  lockName,
  rejects,
  rejectsWith,
  tempDir,
  tempStore,
  tempVolume,
  useDefaultHome,
  volumesSnapshot,
  withoutFlock,
} from './support.mjs'

const { InvalidConfigError, Mount, VolumeAlreadyExistsError, VolumeStore } = sandboxVolumes

const listeners = (signal) => getEventListeners(signal, 'abort').length

/** Every asynchronous function, as `(options) => promise`, on a volume `v` with `file` and `dir`. */
async function everyCall(t) {
  const { store, volume, files } = await tempVolume(t)
  await files.writeString('file', 'old')
  await files.mkdir('dir/sub')
  await store.createVolume('gone')
  const handle = await store.getVolume('v')
  const attachment = await store.attach('held', { '/data': Mount.named('v') })
  useDefaultHome(t, store.home)
  const mounts = { '/data': Mount.namedWith('new', {}, { mode: 'create' }) }
  const out = tempDir(t)
  const calls = {
    'VolumeStore.open': (options) => VolumeStore.open({ home: store.home, ...options }),
    'Volume.remove': (options) => volume.remove(options),
    'VolumeHandle.remove': (options) => handle.remove(options),
    'Attachment.detach': (options) => attachment.detach(options),
    'Attachment.handOver': (options) => attachment.handOver(process.ppid, options),
    'Attachment.unmount': (options) => attachment.unmount(options),
    'VolumeFs.read': (options) => files.read('file', options),
    'VolumeFs.readString': (options) => files.readString('file', options),
    'VolumeFs.write': (options) => files.write('file', 'new', options),
    'VolumeFs.write atomic': (options) => files.write('file', 'new', { atomic: true, ...options }),
    'VolumeFs.write a new file': (options) => files.write('new', Buffer.alloc(100_000), options),
    'VolumeFs.writeString': (options) => files.writeString('file', 'new', options),
    'VolumeFs.mkdir': (options) => files.mkdir('new', options),
    'VolumeFs.remove': (options) => files.remove('file', options),
    'VolumeFs.removeAll': (options) => files.removeAll('dir', options),
    'VolumeFs.exists': (options) => files.exists('file', options),
    'VolumeFs.list': (options) => files.list('dir', options),
    'VolumeFs.stat': (options) => files.stat('file', options),
    'VolumeFs.rename': (options) => files.rename('file', 'renamed', options),
    'VolumeFs.append': (options) => files.append('file', 'new', options),
    'VolumeFs.copy': (options) => files.copy('dir', 'copied', options),
    'VolumeFs.copyIn': (options) => files.copyIn(import.meta.filename, 'copied', options),
    'VolumeFs.copyOut': (options) => files.copyOut('file', path.join(out, 'copied'), options),
  }
  for (const [owner, api] of [
    ['', sandboxVolumes],
    ['VolumeStore.', store],
  ]) {
    calls[`${owner}createVolume`] = (options) => api.createVolume('new', { quotaMib: 1 }, options)
    calls[`${owner}getVolume`] = (options) => api.getVolume('v', options)
    calls[`${owner}listVolumes`] = (options) => api.listVolumes(options)
    calls[`${owner}removeVolume`] = (options) => api.removeVolume('gone', options)
    calls[`${owner}attachments`] = (options) => api.attachments(options)
    calls[`${owner}detach`] = (options) => api.detach(attachment.id, { force: true, ...options })
    calls[`${owner}attach`] = (options) => api.attach('s', mounts, options)
  }
  return { store, volume, files, attachment, calls }
}

test('the table has every asynchronous function', async (t) => {
  const { calls, files, store } = await everyCall(t)
  const methods = (subject) =>
    Object.getOwnPropertyNames(Object.getPrototypeOf(subject)).filter((name) => name !== 'constructor')
  for (const [owner, subject] of [
    ['VolumeFs', files],
    ['VolumeStore', store],
  ]) {
    // Streams have their tests in stream-endings.test.mjs.
    for (const method of methods(subject).filter((name) => !name.endsWith('Stream'))) {
      assert.ok(`${owner}.${method}` in calls, `${owner}.${method}`)
    }
  }
})

test('a signal that is aborted already rejects with its own reason, and nothing is done', async (t) => {
  const { store, calls } = await everyCall(t)
  const before = volumesSnapshot(store)
  for (const reason of [{ mine: true }, new Error('mine'), 'text', 0, null]) {
    for (const [name, call] of Object.entries(calls)) {
      const signal = AbortSignal.abort(reason)
      await rejectsWith(call({ signal }), reason, name)
      assert.equal(listeners(signal), 0, name)
    }
  }
  assert.deepEqual(volumesSnapshot(store), before)
  const { name } = await AbortSignal.abort().reason
  assert.equal(
    (await calls['VolumeFs.read']({ signal: AbortSignal.abort() }).catch((error) => error)).name,
    name,
  )
})

test('an aborted or faulty call on the default home does not create it', async (t) => {
  const home = useDefaultHome(t)
  const { attach, attachments, createVolume, detach, getVolume, listVolumes, removeVolume } = sandboxVolumes
  const calls = [
    (options) => createVolume('v', {}, options),
    (options) => getVolume('v', options),
    (options) => listVolumes(options),
    (options) => removeVolume('v', options),
    (options) => attach('s', {}, options),
    (options) => attachments(options),
    (options) => detach('1', options),
    (options) => VolumeStore.open(options),
  ]
  for (const call of calls) {
    await rejectsWith(call({ signal: AbortSignal.abort('mine') }), 'mine')
    await rejects(call({ signal: 7 }), InvalidConfigError, { field: 'signal' })
    await rejects(call('options'), InvalidConfigError, { field: 'options' })
  }
  assert.ok(!existsSync(home))
})

test('a signal that is not an AbortSignal is refused by name', async (t) => {
  const { store, calls } = await everyCall(t)
  const before = volumesSnapshot(store)
  for (const [name, call] of Object.entries(calls)) {
    for (const signal of [7, 'x', {}, () => {}, new AbortController(), new EventTarget(), Symbol('s')]) {
      await rejects(call({ signal }), InvalidConfigError, { field: 'signal' }, name)
    }
  }
  assert.deepEqual(volumesSnapshot(store), before)
})

test('a signal that does not fire changes nothing, and has a listener only during the call', async (t) => {
  const { calls, attachment } = await everyCall(t)
  const { signal } = new AbortController()
  const { 'Volume.remove': removes, 'VolumeHandle.remove': removesToo, ...others } = calls
  for (const [name, call] of Object.entries(others)) {
    const outcome = call({ signal })
    // The result of the previous call may cause an error; the signal does not.
    await outcome.catch((error) => assert.ok(error instanceof sandboxVolumes.VolumeError, name))
    assert.equal(listeners(signal), 0, name)
  }
  await attachment.detach({ signal: null })
  await removes({ signal: undefined })
  await rejects(removesToo({ signal }), sandboxVolumes.VolumeNotFoundError)
  assert.equal(listeners(signal), 0)
})

test('an abort after the end has no effect', async (t) => {
  const { store, files } = await tempVolume(t)
  const controller = new AbortController()
  const { signal } = controller
  const volume = await store.createVolume('w', { signal })
  await files.writeString('x', 'whole', { signal })
  const attachment = await store.attach('s', { '/data': Mount.named('w') }, { signal })
  controller.abort()
  assert.equal(await files.readString('x'), 'whole')
  await rejects(volume.remove(), sandboxVolumes.VolumeInUseError)
  await attachment.detach()
  await volume.remove()
})

test('an abort at any time leaves the work undone or whole, and says which', async (t) => {
  const { store, files } = await tempVolume(t)
  const contents = { old: Buffer.alloc(300_000, 1), new: Buffer.alloc(300_000, 2) }
  await files.write('x', contents.old, { atomic: true })
  const seen = { undone: 0, whole: 0 }
  for (let round = 0; round < 120; round += 1) {
    const controller = new AbortController()
    const { signal } = controller
    const name = `r-${round}`
    const working = Promise.allSettled([
      store.createVolume(name, { signal }),
      files.write('x', contents.new, { atomic: true, signal }),
      files.mkdir(name, { signal }),
      files.write(`${name}.new`, contents.new, { signal }),
      store.attach('s', { '/data': Mount.namedWith(`a-${name}`, {}, { mode: 'create' }) }, { signal }),
    ])
    for (let turns = round % 40; turns > 0; turns -= 1) {
      await new Promise(setImmediate)
    }
    controller.abort('mine')
    const outcomes = await working
    assert.equal(listeners(signal), 0)
    const done = outcomes.map(({ status, reason }) => {
      assert.ok(status === 'fulfilled' || reason === 'mine', reason?.stack)
      seen[status === 'fulfilled' ? 'whole' : 'undone'] += 1
      return status === 'fulfilled'
    })
    const exists = (volume) =>
      store.getVolume(volume).then(
        () => true,
        () => false,
      )
    const found = [
      await exists(name),
      (await files.read('x')).equals(contents.new),
      await files.exists(name),
      (await files.exists(`${name}.new`)) && (await files.read(`${name}.new`)).equals(contents.new),
      await exists(`a-${name}`),
    ]
    assert.deepEqual(found, done, `round ${round}`)
    assert.equal(await files.exists(`${name}.new`), done[3])
    await outcomes[4].value?.detach()
    await files.write('x', contents.old, { atomic: true })
  }
  t.diagnostic(`${seen.undone} undone, ${seen.whole} whole`)
  const leftovers = Object.keys(volumesSnapshot(store)).filter((entry) => /^\.(staging|trash)\/./.test(entry))
  assert.deepEqual(leftovers, [])
})

test(
  'an abort while a name is locked by another process rejects at once and leaves nothing',
  { skip: withoutFlock },
  async (t) => {
    const { store, volume } = await tempVolume(t)
    const releases = [await lockName(t, store, 'new'), await lockName(t, store, 'v')]
    const before = volumesSnapshot(store)
    const mounts = { '/data': Mount.namedWith('new', {}, { mode: 'ensure-exists' }) }
    for (const call of [
      (signal) => store.createVolume('new', { signal }),
      (signal) => store.removeVolume('v', { signal }),
      (signal) => volume.remove({ signal }),
      (signal) => store.attach('s', mounts, { signal }),
    ]) {
      const controller = new AbortController()
      const waiting = call(controller.signal)
      // Jobs start in the order of their calls, so the previous one waits for its lock by now.
      await rejects(store.removeVolume('none'), sandboxVolumes.VolumeNotFoundError)
      controller.abort('mine')
      await rejectsWith(waiting, 'mine', String(call))
      assert.equal(listeners(controller.signal), 0)
    }
    assert.deepEqual(volumesSnapshot(store), before)
    for (const release of releases) {
      await release()
    }
    await store.createVolume('new')
    await rejects(store.createVolume('new'), VolumeAlreadyExistsError)
    await volume.remove()
  },
)

test(
  'an abort of many waiting operations rejects each, and other names are served',
  { skip: withoutFlock },
  async (t) => {
    const store = await tempStore(t)
    await lockName(t, store, 'locked')
    const controller = new AbortController()
    const { signal } = controller
    const waiting = Array.from({ length: 100 }, () => store.createVolume('locked', { signal }))
    const settled = Promise.allSettled(waiting)
    controller.abort('mine')
    assert.deepEqual(new Set((await settled).map(({ reason }) => reason)), new Set(['mine']))
    assert.equal(listeners(signal), 0)
    await store.createVolume('free')
    assert.ok(!existsSync(path.join(store.home, 'volumes', 'locked')))
  },
)

test('a timeout is a reason like others', { skip: withoutFlock }, async (t) => {
  const store = await tempStore(t)
  await lockName(t, store, 'locked')
  const signal = AbortSignal.timeout(20)
  const error = await store.createVolume('locked', { signal }).catch((reason) => reason)
  assert.equal(error, signal.reason)
  assert.equal(error.name, 'TimeoutError')
  const either = AbortSignal.any([AbortSignal.timeout(20), new AbortController().signal])
  assert.equal(
    await store.createVolume('locked', { signal: either }).catch((reason) => reason),
    either.reason,
  )
})

test('of several signals the last one counts', async (t) => {
  const store = await tempStore(t)
  const [aborted, live] = [AbortSignal.abort('mine'), new AbortController().signal]
  await rejectsWith(store.createVolume('v', { signal: live }, { signal: aborted }, {}), 'mine')
  await store.createVolume('v', { signal: aborted }, { signal: live }, { signal: null })
  assert.equal((await store.listVolumes()).length, 1)
})

test('an abort listener that throws, or aborts again, disturbs nothing', async (t) => {
  const { files } = await tempVolume(t)
  const controller = new AbortController()
  const working = Array.from({ length: 20 }, (_, index) =>
    files.write(`f-${index}`, Buffer.alloc(200_000, 1), { atomic: true, signal: controller.signal }),
  )
  controller.signal.addEventListener('abort', () => controller.abort('again'))
  controller.abort('mine')
  for (const { status, reason } of await Promise.allSettled(working)) {
    assert.ok(status === 'fulfilled' || reason === 'mine')
  }
  assert.ok(existsSync(tempDir(t)))
})
