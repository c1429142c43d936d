import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, realpathSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { inspect } from 'node:util'
import {
  Attachment,
  AttachmentNotFoundError,
  DiskImageError,
  FileSystemError,
  InvalidConfigError,
  Mount,
  UnsupportedMountError,
  VolumeAlreadyExistsError,
  VolumeInUseError,
  VolumeIncompatibleError,
  VolumeNotFoundError,
  VolumeStore,
  attach,
  createVolume,
  removeVolume,
} from '../index.js'
import {
  RecordingBuilder,
  outputOf,
  rejects,
  tempDir,
  tempStore,
  tempVolume,
  throws,
  useDefaultHome,
  volumesSnapshot,
} from './support.mjs'

/** Asserts that arguments contain these in a row. The shared cases check all of the arguments. */
function assertContains(argv, expected) {
  const found = argv.some((_, start) => expected.every((argument, index) => argv[start + index] === argument))
  assert.ok(found, `${expected.join(' ')}\nis not in\n${argv.join(' ')}`)
}

// `docs.test.mjs` runs the same flow in a sandbox.
test('create, seed, attach: the flow that the package exists for', async (t) => {
  const home = useDefaultHome(t)
  const volume = await createVolume('my-data', { quotaMib: 64, labels: { env: 'prod' } })
  await volume.fs().writeString('seed.txt', 'hello')
  const mounts = await attach('worker', { '/data': Mount.named('my-data') })
  assert.ok(mounts instanceof Attachment)
  assertContains(mounts.toBubblewrap(), ['--bind', path.join(home, 'volumes/my-data'), '/data'])
  await mounts[Symbol.asyncDispose]()
  await removeVolume('my-data')
})

test('an attachment has its properties, and they are frozen', async (t) => {
  const { store, volume } = await tempVolume(t)
  const attachment = await store.attach('worker', {
    '/data': Mount.named('v', { readonly: true, nodev: true }),
  })
  const properties = {
    id: attachment.id,
    sandbox: 'worker',
    pid: process.pid,
    mounts: [
      {
        guestPath: '/data',
        kind: 'named',
        hostPath: volume.path,
        volume: 'v',
        subpath: null,
        format: null,
        fstype: null,
        readonly: true,
        noexec: false,
        nosuid: false,
        nodev: true,
        sizeMib: null,
        statVirtualization: null,
        hostPermissions: null,
      },
    ],
  }
  assert.deepEqual({ ...attachment }, properties)
  assert.deepEqual(JSON.parse(JSON.stringify(attachment)), properties)
  assert.match(inspect(attachment), /^Attachment \{\n {2}id: '\d+',\n {2}sandbox: 'worker',\n {2}pid: \d+,/)
  assert.throws(() => (attachment.pid = 1), TypeError)
  assert.throws(() => attachment.mounts.push({}), TypeError)
  assert.throws(() => (attachment.mounts[0].readonly = false), TypeError)
  assert.throws(() => (attachment.extra = 1), TypeError)
})

test('a volume cannot be removed while it is attached, and the error names the sandboxes', async (t) => {
  const { store, volume } = await tempVolume(t)
  const first = await store.attach('first', {
    '/a': Mount.named('v'),
    '/b': Mount.named('v', { readonly: true }),
  })
  const second = await store.attach('second', { '/data': Mount.named('v') })
  const { sandboxes } = await rejects(store.removeVolume('v'), VolumeInUseError, { volume: 'v' })
  assert.deepEqual(sandboxes, ['first', 'second'])
  assert.equal(await first.detach(), undefined)
  await rejects(volume.remove(), VolumeInUseError, { sandboxes: ['second'] })
  await second.detach()
  await volume.remove()
})

test('detach may be called again, and as disposal', async (t) => {
  const { store, volume } = await tempVolume(t)
  const attachment = await store.attach('worker', { '/data': Mount.named('v') })
  await rejects(attachment.detach({ signals: 1 }), InvalidConfigError, { field: 'signals' })
  await Promise.all([attachment.detach(), attachment.detach(), attachment[Symbol.asyncDispose]()])
  await attachment.detach()
  await volume.remove()
  await attachment.detach()
  assert.equal(attachment.mounts[0].guestPath, '/data')
})

test('no renderer works on an attachment that was detached', async (t) => {
  const { store } = await tempVolume(t)
  const attachment = await store.attach('worker', { '/data': Mount.named('v'), '/tmp': Mount.tmpfs() })
  const renderers = [
    () => attachment.toBubblewrap(),
    () => attachment.descriptors(),
    () => attachment.toOci(),
    () => attachment.toQemu({ socketDir: '/run' }),
    () => attachment.toDocker(),
    () => attachment.toDocker({ engine: 'podman' }),
    () => attachment.toMicrosandbox(),
    () => attachment.configureSandbox(new RecordingBuilder()),
    () => attachment.toKubernetes(),
  ]
  renderers.forEach((render) => render())
  await attachment.detach()
  for (const render of renderers) {
    throws(render, InvalidConfigError, { field: 'attachment', message: /attach them again/ })
  }
  await rejects(attachment.mountInto(tempDir(t)), InvalidConfigError, { field: 'attachment' })
  await rejects(attachment.handOver(process.pid), AttachmentNotFoundError)
  await attachment.unmount()
})

test('an attachment ends with its process, and the process may be another one', async (t) => {
  const { store, volume } = await tempVolume(t)
  const sandbox = spawn(process.execPath, ['-e', 'process.stdin.resume()'], {
    stdio: ['pipe', 'ignore', 'inherit'],
  })
  const attachment = await store.attach('worker', { '/data': Mount.named('v') }, { pid: sandbox.pid })
  assert.equal(attachment.pid, sandbox.pid)
  await rejects(volume.remove(), VolumeInUseError, { sandboxes: ['worker'] })
  sandbox.kill('SIGKILL')
  await once(sandbox, 'exit')
  await rejects(store.attach('late', {}, { pid: sandbox.pid }), InvalidConfigError, { field: 'pid' })
  await volume.remove()
})

test('an attachment of a Node process that ended holds nothing', async (t) => {
  const { store, volume } = await tempVolume(t)
  await outputOf(
    `const { VolumeStore, Mount } = await import(process.env.SV)
     const store = await VolumeStore.open()
     await store.attach('crashed', { '/data': Mount.named('v') })
     process.exit()`,
    { env: { MSB_HOME: store.home } },
  )
  await volume.remove()
})

test('every renderer has all mounts, parents before children', async (t) => {
  const { store, volume } = await tempVolume(t)
  const host = realpathSync(tempDir(t))
  const attachment = await store.attach('worker', {
    '/data/tmp': Mount.tmpfs({ sizeMib: 16 }),
    '/host/': Mount.bind(host, { readonly: true }),
    '/data': Mount.named('v'),
  })
  assert.deepEqual(
    attachment.mounts.map(({ guestPath }) => guestPath),
    ['/data', '/data/tmp', '/host'],
  )
  const argv = attachment.toBubblewrap()
  assertContains(argv, ['--bind', volume.path, '/data'])
  assertContains(argv, ['--size', '16777216', '--tmpfs', '/data/tmp', '--ro-bind', host, '/host'])
  assert.deepEqual(
    attachment.toOci().map(({ destination, type, source }) => [destination, type, source]),
    [
      ['/data', 'bind', volume.path],
      ['/data/tmp', 'tmpfs', 'tmpfs'],
      ['/host', 'bind', host],
    ],
  )
  attachment.toOci()[0].options.push('changed')
  assert.ok(!attachment.toOci()[0].options.includes('changed'))
})

test('a mount that a runtime cannot express is refused, with its path and the reason', async (t) => {
  const { store } = await tempVolume(t)
  const attachment = await store.attach('worker', {
    '/data': Mount.named('v', { noexec: true }),
    '/tmp': Mount.tmpfs(),
  })
  throws(() => attachment.toBubblewrap(), UnsupportedMountError, {
    code: 'ERR_UNSUPPORTED_MOUNT',
    path: '/data',
    message: /noexec/,
  })
  assert.ok(attachment.toOci()[0].options.includes('noexec'))
})

test('QEMU’s options are refused by name, and a directory needs a place for its socket', async (t) => {
  const { store } = await tempVolume(t)
  const attachment = await store.attach('worker', { '/data': Mount.named('v') })
  for (const [options, field] of [
    [undefined, 'socketDir'],
    [null, 'socketDir'],
    [{ memoryMib: 64 }, 'socketDir'],
    [{ socketDir: 'run' }, 'socketDir'],
    [{ socketDir: `/${'x'.repeat(100)}` }, 'socketDir'],
    [{ socketDir: '/run', memoryMib: -1 }, 'memoryMib'],
    [{ socketDir: '/run', memory: 64 }, 'memory'],
    [new Map(), 'QemuOptions'],
  ]) {
    throws(() => attachment.toQemu(options), InvalidConfigError, { field })
  }
  const { args, virtiofs } = attachment.toQemu({ socketDir: '/run/vm', memoryMib: 64 })
  assertContains(args, ['-m', '64M'])
  assert.equal(virtiofs[0].socket, '/run/vm/sv-mount-0.sock')
  assert.deepEqual((await store.attach('empty', {})).toQemu(), { args: [], virtiofs: [], guest: [] })
})

test('QEMU is given a directory and no single file', async (t) => {
  const store = await tempStore(t)
  const dir = realpathSync(tempDir(t))
  writeFileSync(path.join(dir, 'file'), '')
  const render = async (host) =>
    (await store.attach('worker', { '/host': Mount.bind(host) })).toQemu({ socketDir: '/run' })
  assert.equal((await render(dir)).virtiofs[0].source, dir)
  await rejects(render(path.join(dir, 'file')), UnsupportedMountError, { path: '/host', message: /is a file/ })
})

test('the options of the other renderers are refused by name', async (t) => {
  const { store } = await tempVolume(t)
  const attachment = await store.attach('worker', { '/data': Mount.named('v') })
  for (const [render, options, field] of [
    ['toDocker', { engine: 'nerdctl' }, 'engine'],
    ['toDocker', 'podman', 'DockerOptions'],
    ['toMicrosandbox', { byName: 1 }, 'byName'],
    ['toMicrosandbox', { home: '/' }, 'home'],
    ['toKubernetes', { claim: true }, 'claim'],
    ['toKubernetes', { storageMib: 64 }, 'storageMib'],
    ['toKubernetes', { claims: true }, 'storageMib'],
    ['toKubernetes', { claims: true, storageMib: 64, namespace: 'No' }, 'namespace'],
  ]) {
    throws(() => attachment[render](options), InvalidConfigError, { field })
  }
  throws(() => attachment.configureSandbox(new RecordingBuilder(), { home: '/' }), InvalidConfigError, {
    field: 'home',
  })
  assert.deepEqual(attachment.toDocker({ engine: null }), attachment.toDocker())
  assert.deepEqual(attachment.toKubernetes(null), attachment.toKubernetes())
})

test('a volume with a quota is claimed for it, and one without for what is said', async (t) => {
  const store = await tempStore(t)
  await store.createVolume('small', { quotaMib: 64 })
  await store.createVolume('any')
  const attachment = await store.attach('worker', { '/small': Mount.named('small'), '/any': Mount.named('any') })
  const { persistentVolumeClaims, volumes } = attachment.toKubernetes({ claims: true, storageMib: 8 })
  assert.deepEqual(
    persistentVolumeClaims.map(({ metadata, spec }) => [metadata.name, spec.resources.requests.storage]),
    [
      ['any', '8Mi'],
      ['small', '64Mi'],
    ],
  )
  assert.deepEqual(volumes[0], { name: 'sv-mount-0', persistentVolumeClaim: { claimName: 'any' } })
})

test('a sandbox builder is returned once it knows the mounts, and one that lacks a method is refused', async (t) => {
  const { store, volume } = await tempVolume(t)
  const attachment = await store.attach('worker', {
    '/data': Mount.named('v', { readonly: true }),
    '/tmp': Mount.tmpfs({ sizeMib: 1 }),
  })
  const builder = new RecordingBuilder()
  assert.equal(attachment.configureSandbox(builder), builder)
  assert.deepEqual(builder.mounts[0].calls, [['bind', volume.path], ['readonly']])
  const unnamed = new RecordingBuilder()
  throws(() => attachment.configureSandbox(unnamed, { byName: true }), UnsupportedMountError, { path: '/data' })
  assert.deepEqual(unnamed.mounts, [])

  for (const bad of [undefined, null, 'builder', {}, { volume: true }]) {
    throws(() => attachment.configureSandbox(bad), InvalidConfigError, { field: 'builder', message: /"volume"/ })
  }
  const called = []
  const old = {
    volume(_, configure) {
      try {
        configure({ bind: () => called.push('bind') })
      } catch (error) {
        throw new Error(error.message) // As native code would pass it on.
      }
    },
  }
  throws(() => attachment.configureSandbox(old), InvalidConfigError, { field: 'builder', message: /"readonly"/ })
  assert.deepEqual(called, [])
  const failure = new TypeError('its own')
  const failing = { volume: () => { throw failure } }
  assert.throws(() => attachment.configureSandbox(failing), (error) => error === failure)
})

test('a mount that microsandbox cannot express is refused before the builder gets any', async (t) => {
  const store = await tempStore(t)
  const host = path.join(realpathSync(tempDir(t)), 'a,b')
  mkdirSync(host)
  const attachment = await store.attach('worker', { '/a': Mount.tmpfs(), '/data': Mount.bind(host) })
  const builder = new RecordingBuilder()
  throws(() => attachment.configureSandbox(builder), UnsupportedMountError, { path: '/data' })
  throws(() => attachment.toMicrosandbox(), UnsupportedMountError, { path: '/data' })
  assert.deepEqual(builder.mounts, [])
})

test('a named mount comes by its volume as its mode says', async (t) => {
  const store = await tempStore(t)
  const named = (name, mode, options) => ({ '/data': Mount.namedWith(name, {}, { mode, ...options }) })
  await rejects(store.attach('s', named('a', 'existing')), VolumeNotFoundError, { volume: 'a' })
  await store.attach('s', named('a', 'create', { quotaMib: 64, labels: { env: 'prod' } }))
  await rejects(store.attach('s', named('a', 'create', { quotaMib: 64 })), VolumeAlreadyExistsError, {
    volume: 'a',
  })
  await store.attach('s', named('a', 'existing'))
  await store.attach('s', named('a', 'ensure-exists', { quotaMib: 64, labels: { other: 'labels' } }))
  await store.attach('s', named('b', 'ensure-exists', { kind: 'dir' }))
  const { quotaMib, labels } = await store.getVolume('a')
  assert.deepEqual({ quotaMib, labels }, { quotaMib: 64, labels: { env: 'prod' } })
  assert.equal((await store.getVolume('b')).quotaMib, null)
})

test('ensure-exists lists each field that differs, and changes nothing', async (t) => {
  const { store } = await tempVolume(t, { quotaMib: 64, labels: { env: 'prod' } })
  const before = await store.getVolume('v')
  const ensure = (options) =>
    store.attach('s', { '/data': Mount.namedWith('v', {}, { mode: 'ensure-exists', ...options }) })
  for (const [options, differences] of [
    [{}, [{ field: 'quotaMib', wanted: 'unlimited', actual: '64' }]],
    [{ quotaMib: 65 }, [{ field: 'quotaMib', wanted: '65', actual: '64' }]],
  ]) {
    const error = await rejects(ensure(options), VolumeIncompatibleError, { volume: 'v', differences })
    assert.match(error.message, /"quotaMib" is 64 but/)
  }
  assert.deepEqual(await store.getVolume('v'), before)
  await ensure({ quotaMib: 64 })
})

test('one bad mount attaches nothing, and takes back what the call created', async (t) => {
  const { store } = await tempVolume(t)
  const created = (name) => Mount.namedWith(name, {}, { mode: 'create' })
  const before = volumesSnapshot(store)
  const missing = path.join(tempDir(t), 'missing')
  for (const [guestPath, mount, Class] of [
    ['/z', Mount.named('nope'), VolumeNotFoundError],
    ['/z', created('v'), VolumeAlreadyExistsError],
    ['/z', created('new-1'), VolumeAlreadyExistsError],
    ['/z', Mount.namedWith('v', {}, { mode: 'ensure-exists', quotaMib: 1 }), VolumeIncompatibleError],
    ['/z', Mount.bind(missing), FileSystemError],
    ['/z', Mount.disk(`${missing}.raw`), FileSystemError],
    ['/z', Mount.disk(tempDir(t)), DiskImageError],
    ['/a/..', Mount.tmpfs(), InvalidConfigError],
  ]) {
    const mounts = {
      '/1': created('new-1'),
      '/2': Mount.named('v'),
      '/3': created('new-2'),
      [guestPath]: mount,
    }
    await rejects(store.attach('s', mounts), Class)
    assert.deepEqual(volumesSnapshot(store), before)
    assert.deepEqual(
      (await store.listVolumes()).map(({ name }) => name),
      ['v'],
    )
  }
  await store.removeVolume('v')
})

test('guest paths are refused by name, before anything is made', async (t) => {
  const store = await tempStore(t)
  const volume = Mount.namedWith('v', {}, { mode: 'create' })
  for (const guestPath of [
    '',
    'data',
    '/',
    '//',
    '/.',
    '/..',
    '/a/../b',
    '/a\0b',
    '/a\nb',
    '/a:b',
    '/a;b',
    '/a,b',
    '/proc',
    '/sys/x',
    '/dev',
    '/' + 'x'.repeat(4096),
  ]) {
    const error = await rejects(store.attach('s', { [guestPath]: volume }), InvalidConfigError, {
      field: 'guestPath',
    })
    assert.ok(guestPath.startsWith(error.path.replace('…', '')))
  }
  await rejects(store.attach('s', { '/a': volume, '/a/': volume }), InvalidConfigError, {
    field: 'guestPath',
    message: /the same guest path/,
  })
  assert.deepEqual(await store.listVolumes(), [])
  assert.deepEqual((await store.attach('s', { '/dev/shm': Mount.tmpfs() })).mounts[0].guestPath, '/dev/shm')
})

test('case 41: a bind source must exist and be no part of the store', async (t) => {
  const { store, root } = await tempVolume(t)
  const dir = realpathSync(tempDir(t))
  const bind = (host) => store.attach('s', { '/host': Mount.bind(host) })
  await rejects(bind(path.join(dir, 'missing')), FileSystemError, { code: 'ENOENT' })
  await rejects(bind('/dev/null'), InvalidConfigError, { field: 'bind' })
  symlinkSync(store.home, path.join(dir, 'to-home'))
  for (const host of [
    root,
    path.dirname(root),
    path.join(store.home, 'db'),
    store.home,
    '/',
    path.join(dir, 'to-home'),
  ]) {
    await rejects(bind(host), InvalidConfigError, { field: 'bind', message: /Mount\.named/ })
  }
  writeFileSync(path.join(dir, 'file'), '')
  mkdirSync(path.join(dir, 'real'))
  symlinkSync('real', path.join(dir, 'link'))
  assert.equal((await bind(path.join(dir, 'file'))).mounts[0].hostPath, path.join(dir, 'file'))
  assert.equal((await bind(path.join(dir, 'link'))).mounts[0].hostPath, path.join(dir, 'real'))
})

test('a sandbox’s name is 1 to 255 bytes without control characters', async (t) => {
  const store = await tempStore(t)
  for (const sandbox of ['', 'a\nb', 'a\0', 'x'.repeat(256), 'é'.repeat(128)]) {
    await rejects(store.attach(sandbox, {}), InvalidConfigError, { field: 'sandbox' })
  }
  for (const sandbox of ['x'.repeat(255), 'two words', '📦']) {
    assert.equal((await store.attach(sandbox, {})).sandbox, sandbox)
  }
})

test('options of attach are refused by name', async (t) => {
  const store = await tempStore(t)
  for (const [options, field] of [
    [{ pid: 0 }, 'pid'],
    [{ pid: -1 }, 'pid'],
    [{ pid: 1.5 }, 'pid'],
    [{ pid: '1' }, 'pid'],
    [{ pid: 2 ** 31 }, 'pid'],
    [{ PID: 1 }, 'PID'],
  ]) {
    await rejects(store.attach('s', {}, options), InvalidConfigError, { field })
  }
})

test('an attachment is seen from every store of its home', async (t) => {
  const { store } = await tempVolume(t)
  const other = await VolumeStore.open({ home: store.home })
  const attachment = await other.attach('elsewhere', { '/data': Mount.named('v') })
  await rejects(store.removeVolume('v'), VolumeInUseError, { sandboxes: ['elsewhere'] })
  await attachment.detach()
  await store.removeVolume('v')
})
