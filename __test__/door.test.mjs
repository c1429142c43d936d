// Arguments of the native side: strings and bytes that are not what they seem, options that change, foreign
// signals.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import path from 'node:path'
import { test } from 'node:test'
import vm from 'node:vm'
import * as sandboxVolumes from '../index.js'
import {
  changeCatalog,
  lockName,
  rejects,
  tempDir,
  tempStore,
  tempVolume,
  throws,
  useDefaultHome,
  withoutFlock,
  withoutSqlite,
} from './support.mjs'

const { FileSystemError, InvalidConfigError, Mount, VolumeError, VolumeStore } = sandboxVolumes

/** Every method that takes a path within the volume, on a volume that has `file`. */
const methods = (files, host) => ({
  read: (bad) => files.read(bad),
  readString: (bad) => files.readString(bad),
  write: (bad) => files.write(bad, 'x'),
  writeString: (bad) => files.writeString(bad, 'x'),
  append: (bad) => files.append(bad, 'x'),
  mkdir: (bad) => files.mkdir(bad),
  remove: (bad) => files.remove(bad),
  removeAll: (bad) => files.removeAll(bad),
  exists: (bad) => files.exists(bad),
  list: (bad) => files.list(bad),
  stat: (bad) => files.stat(bad),
  'rename from': (bad) => files.rename(bad, 'x'),
  'rename to': (bad) => files.rename('file', bad),
  'copy from': (bad) => files.copy(bad, 'x'),
  'copy to': (bad) => files.copy('file', bad),
  copyIn: (bad) => files.copyIn(path.join(host, 'in'), bad),
  copyOut: (bad) => files.copyOut(bad, path.join(host, 'out')),
  readStream: async (bad) => files.readStream(bad),
  writeStream: async (bad) => files.writeStream(bad),
  'list as an iterable': async (bad) => {
    for await (const entry of files.list(bad)) assert.fail(entry.path)
  },
})

function detached() {
  const bytes = new Uint8Array([97, 98])
  structuredClone(bytes.buffer, { transfer: [bytes.buffer] })
  return bytes
}

function outgrown() {
  const buffer = new ArrayBuffer(16, { maxByteLength: 16 })
  const bytes = new Uint8Array(buffer, 8, 8)
  buffer.resize(4)
  return bytes
}

test('bytes of a buffer that is gone are no path, least of all the root', async (t) => {
  const { files } = await tempVolume(t)
  await files.write('file', 'kept')
  for (const [name, call] of Object.entries(methods(files, tempDir(t)))) {
    for (const bad of [detached(), outgrown()]) {
      const error = await rejects(call(bad), InvalidConfigError, { code: 'ERR_INVALID_CONFIG', field: 'path' })
      assert.match(error.message, /transferred/, name)
    }
  }
  assert.deepEqual((await files.list('')).map((entry) => entry.path), ['file'])
  assert.equal(await files.readString('file'), 'kept')
})

test('a path of bytes that change after the call, are shared or of another realm stays as it was in the call', async (t) => {
  const { files } = await tempVolume(t)
  const shared = new Uint8Array(new SharedArrayBuffer(1))
  const resizable = new Uint8Array(new ArrayBuffer(1, { maxByteLength: 8 }))
  const plain = new Uint8Array(1)
  for (const bytes of [shared, resizable, plain, vm.runInNewContext('new Uint8Array(1)')]) {
    bytes[0] = 97
    const written = files.write(bytes, 'x')
    bytes[0] = 98
    await written
    const listing = files.list('').then((entries) => entries.map((entry) => entry.path))
    assert.deepEqual(await listing, ['a'])
    bytes[0] = 97
    const listed = files.stat(bytes)
    if (bytes === plain) structuredClone(bytes.buffer, { transfer: [bytes.buffer] })
    assert.equal((await listed).size, 1)
    await files.remove('a')
  }
})

test('a lone surrogate is refused in every string, by the name of its field', async (t) => {
  const { store, volume, files } = await tempVolume(t)
  await files.write('file', 'kept')
  const host = tempDir(t)
  const attachment = await store.attach('s', { '/data': Mount.named('v') })
  useDefaultHome(t, store.home)
  for (const lone of ['\ud800', 'a\udc00b', '\ud800\ud800\udc00', '\ufffd\udfff']) {
    const refuses = (promise, field) => rejects(promise, InvalidConfigError, { field })
    for (const call of Object.values(methods(files, host))) {
      assert.match((await refuses(call(lone), 'path')).message, /lone surrogate/)
    }
    await refuses(files.copyIn(lone, 'x'), 'hostPath')
    await refuses(files.copyOut('file', path.join(host, lone)), 'hostPath')
    for (const api of [store, sandboxVolumes]) {
      await refuses(api.createVolume(lone), 'name')
      await refuses(api.getVolume(lone), 'name')
      await refuses(api.removeVolume(lone), 'name')
      await refuses(api.createVolume('w', { labels: { a: lone } }), 'labels.a')
      const named = await rejects(api.createVolume('w', { labels: { [lone]: 'a' } }), InvalidConfigError)
      assert.match(named.field, /^labels\./)
      await rejects(api.listVolumes({ labels: { [lone]: 'a' } }), InvalidConfigError)
      await refuses(api.createVolume('w', { kind: lone }), 'kind')
      await refuses(api.attachments({ sandbox: lone }), 'sandbox')
      await refuses(api.attachments({ volume: lone }), 'volume')
      await refuses(api.detach(lone), 'id')
      await refuses(api.attach(lone, {}), 'sandbox')
      await rejects(api.attach('s', { [`/${lone}`]: Mount.named('v') }), InvalidConfigError)
      await rejects(api.attach('s', { '/x': { ...Mount.named('v'), name: lone } }), InvalidConfigError)
    }
    await refuses(attachment.mountInto(`${host}/${lone}`), 'rootfs')
    await refuses(VolumeStore.open({ home: path.join(host, lone) }), 'home')
    await refuses(VolumeStore.check({ home: path.join(host, lone) }), 'home')
    throws(() => Mount.bind(`/${lone}`), InvalidConfigError)
    throws(() => Mount.disk(`/${lone}`), InvalidConfigError)
    throws(() => Mount.named(lone), InvalidConfigError)
    throws(() => Mount.named('v', { subpath: lone }), InvalidConfigError, { field: 'subpath' })
    throws(() => attachment.toBubblewrap({ overrides: lone }), InvalidConfigError)
  }
  // A surrogate pair is not a lone surrogate, nor is the replacement character.
  await files.write('😀\ufffd', 'x')
  assert.deepEqual((await files.list('')).map((entry) => entry.path).sort(), ['file', '😀\ufffd'])
  assert.deepEqual((await store.listVolumes()).map(({ name }) => name), ['v'])
  await attachment.detach()
  await volume.remove()
})

/** An object whose properties count their reads, and return `changed` from the second read on. */
function counting(properties, changed = Symbol('read again')) {
  const reads = {}
  const object = {}
  for (const [name, value] of Object.entries(properties)) {
    Object.defineProperty(object, name, {
      enumerable: true,
      get: () => {
        reads[name] = (reads[name] ?? 0) + 1
        return reads[name] === 1 ? value : changed
      },
    })
  }
  return { object, reads }
}

test('each option is read once', async (t) => {
  const { store, files } = await tempVolume(t)
  await files.write('file', 'kept')
  const attachment = await store.attach('s', { '/data': Mount.named('v') })
  const host = tempDir(t)
  useDefaultHome(t, store.home)
  const once = async (call, properties) => {
    const { object, reads } = counting(properties)
    const result = await call(object)
    const expected = Object.fromEntries(Object.keys(properties).map((name) => [name, 1]))
    assert.deepEqual(reads, expected, String(call))
    return result
  }
  const { signal } = new AbortController()
  for (const api of [store, sandboxVolumes]) {
    const labels = counting({ a: 'b' })
    await once((options) => api.createVolume('w', options), { signal, kind: 'dir', quotaMib: 1, labels: labels.object })
    assert.deepEqual(labels.reads, { a: 1 })
    await once((options) => api.getVolume('w', options), { signal })
    await once((options) => api.listVolumes(options), { signal, labels: {} })
    await once((options) => api.attachments(options), { signal, sandbox: 's', volume: 'v' })
    await once((options) => api.removeVolume('w', options), { signal })
    const config = counting({ ...Mount.named('v') })
    const mounts = counting({ '/data': config.object })
    const held = await once((options) => api.attach('t', mounts.object, options), { signal, pid: process.pid })
    assert.deepEqual([mounts.reads, new Set(Object.values(config.reads))], [{ '/data': 1 }, new Set([1])])
    await once((options) => api.detach(held.id, options), { signal, force: true })
  }
  await once((options) => VolumeStore.open(options), { home: store.home, durability: 'fast', signal })
  await once((options) => VolumeStore.check(options), { home: store.home, repair: false, signal })
  await once((options) => files.write('x', 'y', options), { atomic: true, durable: false, mode: 0o600, signal })
  await once((options) => files.append('x', 'y', options), { durable: false, mode: 0o600, signal })
  await once((options) => files.list('', options), { recursive: true, signal })
  await once((options) => files.stat('x', options), { followSymlinks: true, signal })
  await once((options) => files.copyOut('x', path.join(host, 'x'), options), {
    links: 'skip',
    filter: () => true,
    onProgress: () => {},
    signal,
  })
  await once(async (options) => files.readStream('x', options).destroy(), { start: 0, end: 1, highWaterMark: 1, signal })
  await once(async (options) => attachment.toQemu(options), { socketDir: '/run' })
  await attachment.detach()
})

test('what a caller changes after the call changes nothing', async (t) => {
  const home = useDefaultHome(t)
  const labels = { a: 'b' }
  const options = { quotaMib: 1, labels }
  // The store is opened first, so that the options are used later.
  const creating = sandboxVolumes.createVolume('v', options)
  labels.a = 'c'
  options.quotaMib = 2
  await creating
  const handle = await sandboxVolumes.getVolume('v')
  assert.deepEqual([handle.quotaMib, { ...handle.labels }], [1, { a: 'b' }])
  useDefaultHome(t, path.join(home, '..', 'other'))
  await (await VolumeStore.open()).createVolume('v')
  const mounts = { '/data': { ...Mount.named('v') } }
  useDefaultHome(t, path.join(home, '..', 'linked', '..', 'other'))
  const attaching = sandboxVolumes.attach('s', mounts)
  mounts['/data'].name = 'none'
  mounts['/more'] = Mount.named('none')
  const attachment = await attaching
  assert.deepEqual(attachment.mounts.map(({ guestPath }) => guestPath), ['/data'])
  await attachment.detach()
})

/** A signal like the ones of old libraries, with or without reasons. */
function polyfilled(withReason) {
  const listeners = new Set()
  const signal = {
    aborted: false,
    addEventListener: (_type, listener) => listeners.add(listener),
    removeEventListener: (_type, listener) => listeners.delete(listener),
  }
  const abort = (reason) => {
    signal.aborted = true
    if (withReason) signal.reason = reason
    listeners.forEach((listener) => listener())
  }
  return { signal, abort, listeners }
}

function ofAnotherRealm() {
  const controller = vm.runInNewContext(
    `class ForeignSignal { aborted = false; reason = undefined; #of = new Set()
       addEventListener(type, listener) { this.#of.add(listener) }
       removeEventListener(type, listener) { this.#of.delete(listener) }
       fire(reason) { this.aborted = true; this.reason = reason; for (const each of this.#of) each({ type: 'abort' }) } }
     new ForeignSignal()`,
  )
  return { signal: controller, abort: (reason) => controller.fire(reason) }
}

test('a signal of another realm or of a polyfill cancels, and its reason is kept', async (t) => {
  const { store, files } = await tempVolume(t)
  await files.write('file', Buffer.alloc(1 << 20))
  useDefaultHome(t, store.home)
  for (const make of [() => polyfilled(true), () => polyfilled(false), ofAnotherRealm]) {
    for (const when of ['before', 'during']) {
      for (const call of [
        (signal) => files.read('file', { signal }),
        (signal) => files.list('', { signal }),
        (signal) => files.copy('file', 'copied', { signal }),
        (signal) => store.createVolume('w', { signal }),
        (signal) => sandboxVolumes.createVolume('w', { quotaMib: 1 }, { signal }),
        (signal) => sandboxVolumes.listVolumes({ signal }),
        (signal) => VolumeStore.open({ home: store.home, signal }),
      ]) {
        const { signal, abort, listeners } = make()
        if (when === 'before') abort('mine')
        const ended = Promise.resolve(call(signal)).then(() => 'completed', (reason) => reason)
        if (when === 'during') abort('mine')
        const outcome = await ended
        if (when === 'during' && outcome === 'completed') {
          // The operation was past its commit point.
          continue
        }
        if (signal.reason === 'mine') {
          assert.equal(outcome, 'mine', `${when} ${call}`)
        } else {
          assert.equal(outcome.name, 'AbortError', `${when} ${call}: ${outcome}`)
        }
        assert.equal(listeners?.size ?? 0, 0)
      }
      const { signal, abort } = make()
      if (when === 'before') abort('mine')
      const stream = files.readStream('file', { signal })
      if (when === 'during') abort('mine')
      const [error] = await once(stream, 'error')
      assert.deepEqual([error.name, error.code], ['AbortError', 'ABORT_ERR'])
    }
  }
  assert.deepEqual((await store.listVolumes()).map(({ name }) => name), ['v'])
  const bare = { aborted: true, reason: 'bare' }
  assert.equal(await files.read('file', { signal: bare }).catch((reason) => reason), 'bare')
  assert.equal((await files.read('file', { signal: { aborted: false } })).length, 1 << 20)
  for (const bad of [{}, () => {}, 'aborted', true, { addEventListener() {} }]) {
    await rejects(files.read('file', { signal: bad }), InvalidConfigError, { field: 'signal' })
  }
})

test('a foreign signal ends an operation that waits', { skip: withoutFlock }, async (t) => {
  const { store } = await tempVolume(t)
  const release = await lockName(t, store, 'locked')
  for (const make of [() => polyfilled(true), () => polyfilled(false), ofAnotherRealm]) {
    const { signal, abort, listeners } = make()
    const creating = store.createVolume('locked', { signal }).catch((reason) => reason)
    assert.equal(listeners?.size ?? 1, 1)
    abort('mine')
    const outcome = await creating
    assert.equal(signal.reason === 'mine' ? outcome : outcome.name, signal.reason ?? 'AbortError')
    assert.equal(listeners?.size ?? 0, 0)
  }
  await release()
})

test('an error as JSON has its name, message, code and fields', async (t) => {
  const { store, files } = await tempVolume(t)
  const error = await rejects(files.read('deep/none'), FileSystemError, { code: 'ENOENT' })
  assert.deepEqual(JSON.parse(JSON.stringify(error)), {
    name: 'FileSystemError',
    message: error.message,
    code: 'ENOENT',
    errno: -2,
    syscall: 'open',
    path: 'deep/none',
    volume: 'v',
  })
  await store.attach('s', { '/data': Mount.named('v') })
  const held = JSON.parse(JSON.stringify(await rejects(store.removeVolume('v'), VolumeError)))
  assert.deepEqual([held.name, held.code, held.volume], ['VolumeInUseError', 'ERR_VOLUME_IN_USE', 'v'])
  assert.deepEqual([held.sandboxes, held.holders[0].pid], [['s'], process.pid])
  const invalid = { ...(await rejects(files.read(1), InvalidConfigError)).toJSON() }
  assert.deepEqual([invalid.name, invalid.code, invalid.field], ['InvalidConfigError', 'ERR_INVALID_CONFIG', 'path'])
  const { code } = new VolumeError('m', 'X', { cause: 'because' })
  assert.equal(code, 'X')
  assert.deepEqual(JSON.parse(JSON.stringify(new VolumeError('m', 'X', { cause: 'because' }))), {
    name: 'VolumeError',
    message: 'm',
    code: 'X',
    cause: { message: 'because' },
  })
})

test('a time that no Date can hold is null', { skip: withoutSqlite() }, async (t) => {
  const store = await tempStore(t)
  await store.createVolume('v')
  const attachment = await store.attach('s', { '/data': Mount.named('v') })
  const farthest = 8.64e15
  for (const [ms, expected] of [
    [farthest, new Date(farthest)],
    [-farthest, new Date(-farthest)],
    [farthest + 1, null],
    [-farthest - 1, null],
    ['9223372036854775807', null],
    ['-9223372036854775808', null],
    [0, new Date(0)],
  ]) {
    changeCatalog(store.home, `UPDATE attachment SET created_at_ms = ${ms}`)
    changeCatalog(store.home, `UPDATE volume SET created_at_ms = ${ms}`)
    assert.deepEqual((await store.attachments()).map(({ createdAt }) => createdAt), [expected], `${ms}`)
    assert.deepEqual((await store.listVolumes()).map(({ createdAt }) => createdAt), [expected], `${ms}`)
    assert.deepEqual((await store.getVolume('v')).createdAt, expected, `${ms}`)
  }
  await attachment.detach()
})
