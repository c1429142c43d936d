// Invalid arguments: every asynchronous function rejects them, and none throws.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as sandboxVolumes from '../index.js'
import { tempVolume, useDefaultHome } from './support.mjs'

const { InvalidConfigError, Mount, VolumeStore } = sandboxVolumes

const BAD = [undefined, null, 1, {}, [], Symbol('s'), 1n, () => {}, NaN]

test('asynchronous functions reject bad arguments and never throw', async (t) => {
  const { store, volume, files } = await tempVolume(t)
  const handle = await store.getVolume('v')
  const attachment = await store.attach('s', {})
  const home = useDefaultHome(t, store.home)
  assert.equal(store.home, home)
  const none = [undefined, null]
  const empty = [undefined, null, {}]
  // Each with the values that are valid there.
  const calls = {
    'VolumeStore.open(options)': [(bad) => VolumeStore.open(bad), empty],
    'detach(options)': [(bad) => attachment.detach(bad), empty],
    'handOver(pid)': [(bad) => attachment.handOver(bad), [1]],
    'handOver(options)': [(bad) => attachment.handOver(process.pid, bad), empty],
    'unmount(options)': [(bad) => attachment.unmount(bad), empty],
    'mountInto(rootfs)': [(bad) => attachment.mountInto(bad), []],
    'mountInto(options)': [(bad) => attachment.mountInto('/nowhere', bad), empty],
    'Volume.remove(options)': [(bad) => volume.remove(bad), empty],
    'VolumeHandle.remove(options)': [(bad) => handle.remove(bad), empty],
    'writeString(path)': [(bad) => files.writeString(bad, 'x'), []],
    'writeString(content)': [(bad) => files.writeString('x', bad), []],
    'writeString(options)': [(bad) => files.writeString('x', 'y', bad), empty],
    'write(path)': [(bad) => files.write(bad, 'x'), []],
    'write(data)': [(bad) => files.write('x', bad), []],
    'write(options)': [(bad) => files.write('x', 'y', bad), empty],
    'rename(from)': [(bad) => files.rename(bad, 'x'), []],
    'rename(to)': [(bad) => files.rename('x', bad), []],
    'rename(options)': [(bad) => files.rename('x', 'y', bad), empty],
    'list(recursive)': [(bad) => files.list('', { recursive: bad }), none],
    'stat(followSymlinks)': [(bad) => files.stat('', { followSymlinks: bad }), none],
  }
  for (const name of ['read', 'readString', 'mkdir', 'remove', 'removeAll', 'exists', 'list', 'stat']) {
    calls[`${name}(path)`] = [(bad) => files[name](bad), []]
    calls[`${name}(options)`] = [(bad) => files[name]('x', bad), empty]
  }
  for (const [owner, api] of [
    ['', sandboxVolumes],
    ['VolumeStore.', store],
  ]) {
    for (const name of ['createVolume', 'getVolume', 'removeVolume']) {
      calls[`${owner}${name}(name)`] = [(bad) => api[name](bad), []]
      calls[`${owner}${name}(options)`] = [(bad) => api[name]('v', bad), empty]
    }
    calls[`${owner}listVolumes(options)`] = [(bad) => api.listVolumes(bad), empty]
    calls[`${owner}listVolumes(labels)`] = [(bad) => api.listVolumes({ labels: bad }), empty]
    calls[`${owner}createVolume(kind)`] = [(bad) => api.createVolume('w', { kind: bad }), none]
    calls[`${owner}createVolume(quotaMib)`] = [
      (bad) => api.createVolume('w', { quotaMib: bad }),
      [...none, 1],
    ]
    calls[`${owner}attachments(options)`] = [(bad) => api.attachments(bad), empty]
    calls[`${owner}attachments(sandbox)`] = [(bad) => api.attachments({ sandbox: bad }), none]
    calls[`${owner}attachments(volume)`] = [(bad) => api.attachments({ volume: bad }), none]
    calls[`${owner}detach(id)`] = [(bad) => api.detach(bad), []]
    calls[`${owner}detach(options)`] = [(bad) => api.detach('1', bad), empty]
    calls[`${owner}detach(force)`] = [(bad) => api.detach('1', { force: bad }), none]
    calls[`${owner}attach(sandbox)`] = [(bad) => api.attach(bad, {}), []]
    calls[`${owner}attach(mounts)`] = [(bad) => api.attach('s', bad), [{}]]
    calls[`${owner}attach(a mount)`] = [(bad) => api.attach('s', { '/data': bad }), []]
    calls[`${owner}attach(options)`] = [(bad) => api.attach('s', {}, bad), empty]
    calls[`${owner}attach(pid)`] = [(bad) => api.attach('s', {}, { pid: bad }), [...none, 1]]
  }
  for (const [name, [call, fine]] of Object.entries(calls)) {
    for (const bad of BAD) {
      if (
        fine.some(
          (value) =>
            Object.is(value, bad) || (typeof value === 'object' && value && bad?.constructor === Object),
        )
      ) {
        continue
      }
      let promise
      assert.doesNotThrow(() => (promise = call(bad)), `${name} with ${String(bad)}`)
      assert.ok(promise instanceof Promise, name)
      const error = await promise.then(
        () => assert.fail(`${name} took ${typeof bad} ${String(bad)}`),
        (reason) => reason,
      )
      assert.ok(error instanceof InvalidConfigError, `${name} with ${String(bad)}: ${error?.stack}`)
      assert.ok(error.field, name)
    }
  }
  assert.deepEqual(
    (await store.listVolumes()).map(({ name }) => name),
    ['v'],
  )
})

test('a method without its object, and a class made by hand, fail as JavaScript does', async (t) => {
  const { files } = await tempVolume(t)
  const { read } = files
  await assert.rejects(read('x'), TypeError)
  assert.throws(() => new VolumeStore(), { name: 'TypeError', message: /VolumeStore\.open/ })
})

test('what an option’s own getter throws comes through untouched', async (t) => {
  const { store, files } = await tempVolume(t)
  for (const thrown of [new RangeError('mine'), Object.freeze(new Error('frozen')), null, undefined, 7]) {
    const hostile = {
      get x() {
        throw thrown
      },
    }
    for (const call of [
      () => store.createVolume('w', { labels: hostile }),
      () => files.write('x', 'y', hostile),
      () => store.attach('s', { '/data': hostile }),
      async () => Mount.bind('/x', hostile),
    ]) {
      const outcome = await call().then(
        () => 'resolved',
        (error) => [error],
      )
      assert.deepEqual(outcome, [thrown])
    }
  }
})
