// Disk volumes and disk images in the JavaScript API. The Rust suite checks their content.
import assert from 'node:assert/strict'
import { copyFileSync, linkSync, mkdirSync, readdirSync, renameSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import {
  DiskImageError,
  InvalidConfigError,
  Mount,
  UnsupportedMountError,
  VolumeInUseError,
  VolumeIncompatibleError,
  VolumeKind,
  withVolumeKind,
  withVolumeSize,
} from '../index.js'
import { rejects, tempDir, tempStore, throws } from './support.mjs'

const MIB = 2 ** 20

/** Creates a raw image with an empty file system, like a disk volume. */
async function diskImage(t, name = 'image.raw') {
  const store = await tempStore(t)
  const volume = await store.createVolume('made', { kind: 'disk', sizeMib: 8 })
  const file = path.join(tempDir(t), name)
  copyFileSync(path.join(volume.path, 'disk.raw'), file)
  return file
}

test('a disk volume shows its size, its format, its file system and the space it takes', async (t) => {
  const store = await tempStore(t)
  const volume = await store.createVolume('disk', withVolumeKind(VolumeKind.Disk), withVolumeSize(20 * 1024), {
    labels: { env: 'prod' },
  })
  const handle = await store.getVolume('disk')
  const image = statSync(path.join(volume.path, 'disk.raw'))
  assert.deepEqual(
    {
      kind: handle.kind,
      quotaMib: handle.quotaMib,
      quotaEnforcement: handle.quotaEnforcement,
      capacityBytes: handle.capacityBytes,
      diskFormat: handle.diskFormat,
      diskFstype: handle.diskFstype,
      usedBytes: handle.usedBytes,
      labels: handle.labels,
    },
    {
      kind: 'disk',
      quotaMib: null,
      quotaEnforcement: null,
      capacityBytes: 20 * 1024 * MIB,
      diskFormat: 'raw',
      diskFstype: 'ext4',
      usedBytes: image.blocks * 512,
      labels: { env: 'prod' },
    },
  )
  assert.equal(image.size, handle.capacityBytes)
  assert.ok(handle.usedBytes <= 256 * 1024, `${handle.usedBytes} bytes for an empty disk`)
  await handle.remove()
  assert.deepEqual(await store.listVolumes(), [])
})

test('a disk volume may be a qcow2 image', async (t) => {
  const store = await tempStore(t)
  const volume = await store.createVolume('disk', { kind: 'disk', sizeMib: 16, format: 'qcow2' })
  assert.deepEqual(readdirSync(volume.path), ['disk.qcow2'])
  assert.equal((await store.getVolume('disk')).diskFormat, 'qcow2')
  const attachment = await store.attach('worker', { '/data': Mount.named('disk') })
  const [{ format, fstype, kind, hostPath }] = attachment.mounts
  assert.deepEqual(
    { format, fstype, kind, hostPath },
    { format: 'qcow2', fstype: 'ext4', kind: 'named', hostPath: path.join(volume.path, 'disk.qcow2') },
  )
})

test('every file operation on a disk volume is refused by name', async (t) => {
  const store = await tempStore(t)
  const volume = await store.createVolume('disk', { kind: 'disk', sizeMib: 8 })
  const files = volume.fs()
  for (const operation of [
    () => files.read('disk.raw'),
    () => files.readString('disk.raw'),
    () => files.write('disk.raw', 'x'),
    () => files.writeString('x', 'x', { atomic: true }),
    () => files.mkdir('x'),
    () => files.remove('disk.raw'),
    () => files.removeAll('disk.raw'),
    () => files.exists('disk.raw'),
    () => files.list(''),
    () => files.stat(''),
    () => files.rename('disk.raw', 'x'),
  ]) {
    await rejects(operation(), InvalidConfigError, { field: 'kind', volume: 'disk', message: /"disk" is a disk/ })
  }
  assert.deepEqual(readdirSync(volume.path), ['disk.raw'])
})

test('a disk has one writer or many readers, and the one in the way is named', async (t) => {
  const store = await tempStore(t)
  const file = await diskImage(t)
  linkSync(file, `${file}.other.raw`)
  await store.createVolume('disk', { kind: 'disk', sizeMib: 8 })
  for (const [mount, details] of [
    [(options) => Mount.named('disk', options), { volume: 'disk' }],
    [(options) => Mount.disk(file, options), { path: file }],
  ]) {
    const writer = await store.attach('writer', { '/data': mount() })
    for (const options of [{}, { readonly: true }]) {
      await rejects(store.attach('other', { '/data': mount(options) }), VolumeInUseError, {
        sandboxes: ['writer'],
        ...details,
      })
    }
    await writer.detach()
    const readers = await Promise.all(
      ['a', 'b'].map((sandbox) => store.attach(sandbox, { '/data': mount({ readonly: true }) })),
    )
    await rejects(store.attach('other', { '/data': mount() }), VolumeInUseError, { sandboxes: ['a', 'b'] })
    await Promise.all(readers.map((reader) => reader.detach()))
  }
  await store.attach('writer', { '/data': Mount.disk(file) })
  await rejects(store.attach('other', { '/data': Mount.disk(`${file}.other.raw`) }), VolumeInUseError, {
    sandboxes: ['writer'],
  })
})

test('a disk volume that is made for its mount is gone when the attachment fails', async (t) => {
  const store = await tempStore(t)
  const disk = { mode: 'create', kind: 'disk', sizeMib: 8 }
  await rejects(
    store.attach('worker', {
      '/data': Mount.namedWith('disk', {}, disk),
      '/image': Mount.disk(path.join(tempDir(t), 'missing.raw')),
    }),
    Error,
    { code: 'ENOENT' },
  )
  assert.deepEqual(await store.listVolumes(), [])
  await store.attach('worker', { '/data': Mount.namedWith('disk', {}, disk) })
  await rejects(
    store.attach('other', { '/data': Mount.namedWith('disk', {}, { ...disk, mode: 'ensure-exists', sizeMib: 9 }) }),
    VolumeIncompatibleError,
    { differences: [{ field: 'sizeMib', wanted: '9', actual: '8' }] },
  )
})

test('an image that is not what it must be is a DiskImageError that names it', async (t) => {
  const store = await tempStore(t)
  const directory = tempDir(t)
  const write = (name, content) => {
    const file = path.join(directory, name)
    writeFileSync(file, content)
    return file
  }
  mkdirSync(path.join(directory, 'dir.raw'))
  for (const [file, options, message] of [
    [write('empty.raw', ''), {}, /empty/],
    [path.join(directory, 'dir.raw'), {}, /is a directory/],
    [write('text.qcow2', 'text'.repeat(1000)), {}, /qcow2/],
    [write('text.vmdk', 'text'.repeat(1000)), {}, /vmdk/],
    [write('stated.img', 'text'.repeat(1000)), { format: 'qcow2' }, /qcow2/],
  ]) {
    await rejects(store.attach('worker', { '/data': Mount.disk(file, options) }), DiskImageError, {
      code: 'ERR_DISK_IMAGE',
      path: file,
      message,
    })
  }
})

test('a raw image stays raw, and its file system is shown', async (t) => {
  const store = await tempStore(t)
  const file = await diskImage(t, 'image.img')
  const attachment = await store.attach('worker', { '/data': Mount.disk(file, { readonly: true, nodev: true }) })
  const [{ kind, hostPath, volume, format, fstype, readonly, nodev }] = attachment.mounts
  assert.deepEqual(
    { kind, hostPath, volume, format, fstype, readonly, nodev },
    { kind: 'disk', hostPath: file, volume: null, format: 'raw', fstype: 'ext4', readonly: true, nodev: true },
  )
  for (const render of ['toBubblewrap', 'toOci', 'toDocker', 'toKubernetes']) {
    throws(() => attachment[render](), UnsupportedMountError, { path: '/data', message: /virtual machine/ })
  }
})

test('the path that QEMU gets for a disk image leads to the file that was checked, until it is detached', async (t) => {
  const store = await tempStore(t)
  const file = await diskImage(t)
  const attachment = await store.attach('vm', { '/data': Mount.disk(file) })
  renameSync(file, `${file}.moved`)
  writeFileSync(file, 'swapped')
  const { args, guest } = attachment.toQemu({ prefix: 'vm1' })
  const blockdev = JSON.parse(args[args.indexOf('-blockdev') + 1])
  assert.equal(statSync(blockdev.file.filename).ino, statSync(`${file}.moved`).ino)
  assert.equal(guest[0].serial, 'vm1-0')
  await attachment.detach()
  throws(() => attachment.toQemu(), InvalidConfigError, { field: 'attachment', message: /attach them again/ })
})
