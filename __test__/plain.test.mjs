// Objects that are not plain seem to have no options. They are refused and never taken as empty.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import vm from 'node:vm'
import {
  InvalidConfigError,
  Mount,
  VolumeStore,
  createVolume,
  removeVolume,
  withVolumeLabels,
} from '../index.js'
import { rejects, tempStore, tempVolume, throws, useDefaultHome } from './support.mjs'

class Foo {}

/** Values that are not plain, with their names in messages of JavaScript. */
const NOT_PLAIN = [
  [new Map([['quotaMib', 64]]), 'a Map'],
  [new Set(), 'a Set'],
  [new Date(0), 'a Date'],
  [new Error('no'), 'an Error'],
  [new Uint8Array(2), 'a Uint8Array'],
  [new String(''), 'a String'],
  [Promise.resolve({}), 'a Promise'],
  [new AbortController().signal, 'an AbortSignal'],
  [new Foo(), 'an instance of Foo'],
  [Object.create(new Foo()), 'an instance of Foo'],
  [Object.create({ quotaMib: 64 }), 'an object that is not plain'],
  [Object.create(() => {}), 'an instance of Function'],
  [new (class {})(), 'an object that is not plain'],
  [vm.runInNewContext('new Map()'), 'a Map'],
  [[], 'an array'],
  [vm.runInNewContext('[]'), 'an array'],
]

/** Plain values of any origin that have `key`. */
const plain = (key, value) => [
  { [key]: value },
  { __proto__: null, [key]: value },
  Object.freeze({ [key]: value }),
  structuredClone({ [key]: value }),
  new Proxy({ [key]: value }, {}),
  vm.runInNewContext('({ [key]: value })', { key, value }),
  vm.runInNewContext('({ __proto__: null, [key]: value })', { key, value }),
]

test('options that are not plain are refused, with their type', async (t) => {
  const { store, volume, files } = await tempVolume(t)
  const handle = await store.getVolume('v')
  const attachment = await store.attach('s', {})
  useDefaultHome(t, store.home)
  for (const [options, name] of NOT_PLAIN) {
    for (const call of [
      () => VolumeStore.open(options),
      () => createVolume('w', options),
      () => removeVolume('v', options),
      () => store.createVolume('w', options),
      () => store.createVolume('w', { quotaMib: 64 }, options),
      () => store.getVolume('v', options),
      () => store.listVolumes(options),
      () => store.removeVolume('v', options),
      () => store.attach('s', {}, options),
      () => volume.remove(options),
      () => handle.remove(options),
      () => attachment.detach(options),
      () => files.writeString('x', 'y', options),
      () => files.removeAll('x', options),
    ]) {
      await rejects(call(), InvalidConfigError, {
        field: 'options',
        message: `Invalid "options": expected an object, got ${name}`,
      })
    }
  }
  assert.deepEqual(
    (await store.listVolumes()).map(({ name }) => name),
    ['v'],
  )
})

test('a value in place of an object is refused, and named by its type', async (t) => {
  const store = await tempStore(t)
  for (const [options, name] of [
    ['64', 'a string'],
    [64, 'a number'],
    [true, 'a boolean'],
    [64n, 'a bigint'],
    [Symbol('s'), 'a symbol'],
    [Foo, 'a function'],
  ]) {
    await rejects(store.createVolume('w', options), InvalidConfigError, {
      message: `Invalid "options": expected an object, got ${name}`,
    })
  }
})

test('mounts and nested options that are not plain are refused', async (t) => {
  const store = await tempStore(t)
  const created = Mount.namedWith('w', {}, { mode: 'create' })
  await rejects(store.attach('s', new Map([['/data', created]])), InvalidConfigError, { field: 'mounts' })
  for (const [value, called] of NOT_PLAIN) {
    const message = new RegExp(`got ${called === 'an array' ? called : 'an object that is not plain'}$`)
    for (const [call, field] of [
      [() => store.createVolume('w', { labels: value }), 'labels'],
      [() => store.createVolume('w', withVolumeLabels(value)), 'labels'],
      [() => store.listVolumes({ labels: value }), 'labels'],
      [() => store.createVolume('w', { quotaMib: value }), 'quotaMib'],
    ]) {
      await rejects(call(), InvalidConfigError, { field, message })
    }
    const mount = { field: 'MountConfig', message: /\(mount at "\/data"\)$/ }
    await rejects(store.attach('s', { '/data': value }), InvalidConfigError, mount)
    await rejects(store.attach('s', value), InvalidConfigError, { field: 'mounts' })
    for (const [call, field] of [
      [() => Mount.bind('/usr', value), 'MountOptions'],
      [() => Mount.named('w', value), 'MountOptions'],
      [() => Mount.namedWith('w', {}, value), 'NamedVolumeOptions'],
      [() => Mount.namedWith('w', {}, { mode: 'create', labels: value }), 'labels'],
      [() => Mount.tmpfs(value), 'TmpfsOptions'],
      [() => Mount.disk('/x.raw', value), 'DiskOptions'],
    ]) {
      throws(call, InvalidConfigError, { field, message })
    }
  }
  assert.deepEqual(await store.listVolumes(), [])
})

test('a plain object is accepted, whatever its origin', async (t) => {
  const store = await tempStore(t)
  for (const options of plain('quotaMib', 64)) {
    const volume = await store.createVolume('v', options)
    assert.equal((await store.getVolume('v')).quotaMib, 64)
    await volume.remove()
  }
  for (const labels of plain('env', 'prod')) {
    for (const options of [{ labels }, withVolumeLabels(labels)]) {
      const volume = await store.createVolume('v', options)
      assert.deepEqual((await store.listVolumes({ labels }))[0].labels, { env: 'prod' })
      await volume.remove()
    }
  }
  for (const options of plain('readonly', true)) {
    assert.equal(Mount.tmpfs(options).readonly, true)
  }
  for (const mounts of plain('/tmp', Mount.tmpfs())) {
    assert.equal((await store.attach('s', mounts)).mounts[0].guestPath, '/tmp')
  }
})

test('a home must not be empty', async (t) => {
  useDefaultHome(t)
  await rejects(VolumeStore.open({ home: '' }), InvalidConfigError, {
    field: 'home',
    message: 'Invalid "home": a home must not be empty; leave it out for the default one',
  })
})
