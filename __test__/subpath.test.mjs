// Subpaths of volumes. The shared cases check their syntax, the Rust suite their lookup.
import assert from 'node:assert/strict'
import { fstatSync, mkdirSync, readFileSync, renameSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { FileSystemError, InvalidConfigError, Mount, PathEscapeError, UnsupportedMountError } from '../index.js'
import { RecordingBuilder, rejects, tempDir, tempStore, tempVolume, throws } from './support.mjs'

async function attachedPart(t, options) {
  const { store, volume, files } = await tempVolume(t)
  await files.mkdir('tenants/a')
  await files.writeString('tenants/a/file', 'its own')
  const attachment = await store.attach('s', { '/data': Mount.named('v', { subpath: 'tenants//a/', ...options }) })
  return { store, volume, attachment, directory: path.join(volume.path, 'tenants/a') }
}

test('a part is shown with its path, and held by a descriptor', async (t) => {
  const { store, attachment, directory } = await attachedPart(t, { readonly: true })
  const [mount] = attachment.mounts
  assert.deepEqual(
    [mount.kind, mount.volume, mount.subpath, mount.hostPath],
    ['named', 'v', 'tenants/a', directory],
  )
  const [descriptor, ...more] = attachment.descriptors()
  assert.deepEqual(more, [])
  assert.equal(fstatSync(descriptor).ino, statSync(directory).ino)
  const [{ volumes }] = await store.attachments()
  assert.deepEqual(volumes, [{ name: 'v', guestPath: '/data', subpath: 'tenants/a', readonly: true }])
  assert.deepEqual((await store.attach('whole', { '/data': Mount.named('v') })).descriptors(), [])
})

test('a rendering has the descriptor, or the path if the runtime must open it itself', async (t) => {
  const { volume, attachment, directory } = await attachedPart(t)
  const [descriptor] = attachment.descriptors()
  const source = `/proc/${process.pid}/fd/${descriptor}`
  assert.deepEqual(attachment.toBubblewrap({ firstFd: 4 }).slice(-3), ['--bind-fd', '4', '/data'])
  assert.deepEqual(attachment.toMicrosandbox(), ['--mount-dir', `${source}:/data`])
  assert.deepEqual(attachment.configureSandbox(new RecordingBuilder()).mounts[0].calls, [['bind', source]])
  throws(() => attachment.toMicrosandbox({ byName: true }), UnsupportedMountError, { path: '/data' })
  for (const [render, sourceOf] of [
    [(options) => attachment.toOci(options), ([{ source }]) => source],
    [(options) => attachment.toDocker(options), ([, mount]) => /source=([^,]*)/.exec(mount)[1]],
    [(options) => attachment.toQemu({ socketDir: '/run', ...options }), ({ virtiofs }) => virtiofs[0].source],
  ]) {
    assert.equal(sourceOf(render({ byPath: true })), directory)
    for (const options of [undefined, {}, { byPath: false }, { byPath: null }]) {
      throws(() => render(options), UnsupportedMountError, { path: '/data', message: /set "byPath" if none does/ })
    }
    throws(() => render({ byPath: 1 }), InvalidConfigError, { field: 'byPath' })
    throws(() => render({ bypath: true }), InvalidConfigError, { field: 'bypath' })
  }
  const { volumes, volumeMounts } = attachment.toKubernetes()
  assert.equal(volumes[0].hostPath.path, volume.path)
  assert.deepEqual(volumeMounts, [{ name: 'sv-mount-0', mountPath: '/data', subPath: 'tenants/a' }])
})

test('bubblewrap’s options are refused by name, and the first number is needed for a part only', async (t) => {
  const { store, attachment } = await attachedPart(t)
  for (const [options, field] of [
    [undefined, 'firstFd'],
    [null, 'firstFd'],
    [{}, 'firstFd'],
    [{ firstFd: 2 }, 'firstFd'],
    [{ firstFd: -1 }, 'firstFd'],
    [{ firstFd: '3' }, 'firstFd'],
    [{ fd: 3 }, 'fd'],
    [3, 'BubblewrapOptions'],
  ]) {
    throws(() => attachment.toBubblewrap(options), InvalidConfigError, { field })
  }
  const whole = await store.attach('whole', { '/data': Mount.named('v') })
  assert.deepEqual(whole.toBubblewrap({ firstFd: 3 }), whole.toBubblewrap())
})

test('a swap after attaching changes no rendering', async (t) => {
  const { attachment, directory } = await attachedPart(t)
  const outside = tempDir(t)
  writeFileSync(path.join(outside, 'file'), 'secret')
  renameSync(directory, `${directory}-moved`)
  symlinkSync(outside, directory)
  assert.equal(readFileSync(path.join(directory, 'file'), 'utf8'), 'secret')
  assert.equal(readFileSync(path.join(attachment.toMicrosandbox()[1].split(':')[0], 'file'), 'utf8'), 'its own')
})

test('a part that leads outside, or is missing, attaches nothing', async (t) => {
  const { store, volume } = await tempVolume(t)
  const outside = tempDir(t)
  mkdirSync(path.join(outside, 'inner'))
  symlinkSync(outside, path.join(volume.path, 'out'))
  const attach = (subpath, options) =>
    store.attach('s', { '/data': Mount.namedWith('v', { subpath }, options) })
  for (const options of [{}, { mode: 'ensure-exists' }]) {
    await rejects(attach('out', options), PathEscapeError, { volume: 'v', path: 'out' })
    await rejects(attach('out/inner', options), PathEscapeError, { volume: 'v', path: 'out/inner' })
  }
  await rejects(attach('nope'), FileSystemError, { code: 'ENOENT', path: 'nope', volume: 'v' })
  assert.deepEqual(await store.attachments(), [])
  const { mounts } = await attach('made/below', { mode: 'ensure-exists' })
  assert.equal(statSync(mounts[0].hostPath).mode & 0o7777, 0o755)
})

test('a disk volume has no parts', async (t) => {
  const store = await tempStore(t)
  await store.createVolume('disk', { kind: 'disk', sizeMib: 5 })
  const mounts = { '/data': Mount.named('disk', { subpath: 'a' }) }
  await rejects(store.attach('s', mounts), InvalidConfigError, { field: 'subpath' })
})

test('no renderer works on a subpath once it is detached', async (t) => {
  const { attachment } = await attachedPart(t)
  await attachment.detach()
  for (const render of [
    () => attachment.toBubblewrap({ firstFd: 3 }),
    () => attachment.descriptors(),
    () => attachment.toOci({ byPath: true }),
    () => attachment.toDocker({ byPath: true }),
    () => attachment.toQemu({ socketDir: '/run', byPath: true }),
    () => attachment.toMicrosandbox(),
    () => attachment.configureSandbox(new RecordingBuilder()),
    () => attachment.toKubernetes(),
  ]) {
    throws(render, InvalidConfigError, { field: 'attachment' })
  }
})

test('a mount of a part survives JSON and structuredClone', async (t) => {
  const { store, volume } = await tempVolume(t)
  mkdirSync(path.join(volume.path, 'a'))
  const mount = Mount.named('v', { subpath: './a' })
  for (const copied of [JSON.parse(JSON.stringify(mount)), structuredClone(mount)]) {
    assert.deepEqual(copied, { ...mount })
    assert.equal((await store.attach('s', { '/data': copied })).mounts[0].subpath, 'a')
  }
})
