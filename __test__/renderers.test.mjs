// What each runtime is given for an attachment. The shared cases in tests/cases/ have the rest.
import assert from 'node:assert/strict'
import { mkdirSync, realpathSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { InvalidConfigError, Mount, UnsupportedMountError } from '../index.js'
import { RecordingBuilder, assertContains, rejects, tempDir, tempStore, tempVolume, throws } from './support.mjs'

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
