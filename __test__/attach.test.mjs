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
  assertContains,
  outputOf,
  rejects,
  tempDir,
  tempStore,
  tempVolume,
  throws,
  useDefaultHome,
  volumesSnapshot,
} from './support.mjs'

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
