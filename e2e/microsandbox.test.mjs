import assert from 'node:assert/strict'
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { Mount, UnsupportedMountError, VolumeStore } from '../index.js'
import * as microsandbox from './sandboxes/microsandbox.mjs'
import { openStore, suite, temporaryDirectory } from './support.mjs'

const NO_FLAGS = { readonly: false, noexec: false, nosuid: false, nodev: false }
const ALL_FLAGS = { readonly: true, noexec: true, nosuid: true, nodev: true }

/** The defaults of microsandbox. */
const VIRTIOFS = { stat_virtualization: 'strict', host_permissions: 'private', follow_root_symlinks: false }
const bind = (host, options = NO_FLAGS) => ({ type: 'Bind', host, options, ...VIRTIOFS, quota_mib: null })

suite('Microsandbox', microsandbox.unavailable(), () => {
  test('its command line understands each mount as it was asked for', async (t) => {
    const store = await openStore(t)
    const home = temporaryDirectory(t)
    const directory = join(temporaryDirectory(t), `a "b" 'c' =é\\`)
    mkdirSync(directory)
    const file = join(directory, 'file')
    writeFileSync(file, '')
    const volume = await store.createVolume('data')
    const disk = await store.createVolume('disk', { kind: 'disk', sizeMib: 8 })
    const image = await store.createVolume('image', { kind: 'disk', sizeMib: 8, format: 'qcow2' })
    const attachment = await store.attach('worker', {
      '/volume': Mount.named('data'),
      '/sealed': Mount.named('data', ALL_FLAGS),
      '/say "hi" =é': Mount.bind(directory, { readonly: true }),
      '/noexec': Mount.bind(directory, { noexec: true, statVirtualization: 'relaxed', hostPermissions: 'mirror' }),
      '/nosuid': Mount.bind(directory, { nosuid: true, statVirtualization: 'off' }),
      '/file': Mount.bind(file, { nodev: true, hostPermissions: 'private' }),
      '/disk': Mount.named('disk', { readonly: true }),
      '/image': Mount.named('image', { nosuid: true }),
      '/tmpfs': Mount.tmpfs(),
      '/tmpfs-sealed': Mount.tmpfs(ALL_FLAGS),
      '/tmpfs-sized': Mount.tmpfs({ sizeMib: 4294967295, noexec: true }),
      '/tmpfs-sized/below': Mount.tmpfs({ sizeMib: 1 }),
    })
    const { mounts, complaint } = microsandbox.create(home, attachment.toMicrosandbox())
    assert.equal(complaint, null)
    assert.deepEqual(mounts, {
      '/volume': bind(volume.path),
      '/sealed': bind(volume.path, ALL_FLAGS),
      '/say "hi" =é': bind(directory, { ...NO_FLAGS, readonly: true }),
      '/noexec': {
        ...bind(directory, { ...NO_FLAGS, noexec: true }),
        ...{ stat_virtualization: 'relaxed', host_permissions: 'mirror' },
      },
      '/nosuid': { ...bind(directory, { ...NO_FLAGS, nosuid: true }), stat_virtualization: 'off' },
      '/file': bind(file, { ...NO_FLAGS, nodev: true }),
      '/disk': {
        ...{ type: 'DiskImage', host: join(disk.path, 'disk.raw'), format: 'Raw', fstype: 'ext4' },
        options: { ...NO_FLAGS, readonly: true },
      },
      '/image': {
        ...{ type: 'DiskImage', host: join(image.path, 'disk.qcow2'), format: 'Qcow2', fstype: 'ext4' },
        options: { ...NO_FLAGS, nosuid: true },
      },
      '/tmpfs': { type: 'Tmpfs', size_mib: null, options: NO_FLAGS },
      '/tmpfs-sealed': { type: 'Tmpfs', size_mib: null, options: ALL_FLAGS },
      '/tmpfs-sized': { type: 'Tmpfs', size_mib: 4294967295, options: { ...NO_FLAGS, noexec: true } },
      '/tmpfs-sized/below': { type: 'Tmpfs', size_mib: 1, options: NO_FLAGS },
    })
  })

  test('its command line finds volumes of its own by name', async (t) => {
    const home = temporaryDirectory(t)
    assert.equal(microsandbox.msb(home, 'volume', 'create', 'data').status, 0)
    const disk = ['volume', 'create', 'disk', '--kind', 'disk', '--size', '512M']
    assert.equal(microsandbox.msb(home, ...disk).status, 0)
    const store = await VolumeStore.open({ home })
    await store.createVolume('unknown')
    const attachment = await store.attach('worker', {
      '/data': Mount.named('data', { readonly: true }),
      '/disk': Mount.named('disk'),
    })
    const { mounts, complaint } = microsandbox.create(home, attachment.toMicrosandbox({ byName: true }))
    assert.equal(complaint, null)
    const named = (name, options = NO_FLAGS) => ({ type: 'Named', name, options, ...VIRTIOFS })
    assert.deepEqual(mounts, { '/data': named('data', { ...NO_FLAGS, readonly: true }), '/disk': named('disk') })
    await attachment.detach()

    // For a name that it does not know, it deletes the directory.
    const unknown = await store.attach('worker', { '/data': Mount.named('unknown') })
    assert.throws(() => unknown.toMicrosandbox({ byName: true }), UnsupportedMountError)
    await unknown.detach()
  })

  test('its command line opens a disk image of the host where it was checked', async (t) => {
    const store = await openStore(t)
    const made = await store.createVolume('made', { kind: 'disk', sizeMib: 8 })
    const image = join(temporaryDirectory(t), 'a:b,c.img')
    copyFileSync(join(made.path, 'disk.raw'), image)
    const attachment = await store.attach('worker', { '/disk': Mount.disk(image, { noexec: true }) })
    const { mounts, complaint } = microsandbox.create(temporaryDirectory(t), attachment.toMicrosandbox())
    assert.equal(complaint, null)
    const { host, ...disk } = mounts['/disk']
    assert.match(host, new RegExp(`^/proc/${process.pid}/fd/\\d+$`))
    const options = { ...NO_FLAGS, noexec: true }
    assert.deepEqual(disk, { type: 'DiskImage', format: 'Raw', fstype: 'ext4', options })
  })

  test('a host path with a colon, which is refused here, its command line takes apart', (t) => {
    const home = temporaryDirectory(t)
    const directory = join(home, 'a:b')
    mkdirSync(directory)
    mkdirSync(join(home, 'a'))
    const { mounts, complaint } = microsandbox.create(home, ['--mount-dir', `${directory}:/data`])
    assert.equal(mounts, null)
    assert.match(complaint, /^error: /)
  })

  test('its SDK builds each mount as it was asked for', async (t) => {
    const home = temporaryDirectory(t)
    const built = microsandbox.inSdk(
      home,
      `const { Mount, VolumeStore } = volumes
       const { MountBuilder } = microsandbox
       const home = ${JSON.stringify(join(home, 'ours'))}
       const store = await VolumeStore.open({ home })
       await store.createVolume('data')
       await store.createVolume('disk', { kind: 'disk', sizeMib: 8 })
       // As in the catalog of microsandbox.
       const { DatabaseSync } = await import('node:sqlite')
       const catalog = new DatabaseSync(home + '/db/msb.db')
       catalog.exec(\`CREATE TABLE volume (id integer PRIMARY KEY, name text, quota_mib, size_bytes, labels, created_at,
         updated_at, kind text, capacity_bytes integer, disk_format, disk_fstype);
         INSERT INTO volume (name, kind, capacity_bytes) VALUES ('data', 'dir', NULL), ('disk', 'disk', 8 << 20)\`)
       const all = { readonly: true, noexec: true, nosuid: true, nodev: true }
       const attachment = await store.attach('worker', {
         '/bind': Mount.bind('/usr', { noexec: true, statVirtualization: 'relaxed', hostPermissions: 'mirror' }),
         '/data': Mount.named('data'),
         '/disk': Mount.named('disk', { nosuid: true }),
         '/file': Mount.bind('/etc/passwd', all),
         '/off': Mount.bind('/usr', { nodev: true, statVirtualization: 'off' }),
         '/tmp': Mount.tmpfs({ sizeMib: 4294967295, ...all }),
         '/tmp-plain': Mount.tmpfs(),
       })
       const collect = (options) => {
         const mounts = {}
         const volume = (at, configure) => (mounts[at] = configure(new MountBuilder(at)).build())
         attachment.configureSandbox({ volume }, options)
         return mounts
       }
       console.log(JSON.stringify({ byPath: collect(), byName: collect({ byName: true }) }))`,
    )
    const flags = (flags) => ({ ...NO_FLAGS, ...flags })
    const virtiofs = { statVirtualization: 'strict', hostPermissions: 'private' }
    const volumes = join(home, 'ours/volumes')
    const expected = {
      '/bind': {
        ...{ kind: 'bind', guest: '/bind', host: '/usr', ...flags({ noexec: true }) },
        ...{ statVirtualization: 'relaxed', hostPermissions: 'mirror' },
      },
      '/data': { kind: 'bind', guest: '/data', host: join(volumes, 'data'), ...NO_FLAGS, ...virtiofs },
      '/disk': {
        ...{ kind: 'disk', guest: '/disk', host: join(volumes, 'disk/disk.raw'), format: 'raw', fstype: 'ext4' },
        ...flags({ nosuid: true }),
      },
      '/file': { kind: 'bind', guest: '/file', host: '/etc/passwd', ...ALL_FLAGS, ...virtiofs },
      '/off': {
        ...{ kind: 'bind', guest: '/off', host: '/usr', ...flags({ nodev: true }) },
        ...{ ...virtiofs, statVirtualization: 'off' },
      },
      '/tmp': { kind: 'tmpfs', guest: '/tmp', sizeMib: 4294967295, ...ALL_FLAGS },
      '/tmp-plain': { kind: 'tmpfs', guest: '/tmp-plain', ...NO_FLAGS },
    }
    assert.deepEqual(built.byPath, expected)
    const named = (guest, name) => ({ kind: 'named', guest, name, ...virtiofs })
    assert.deepEqual(built.byName, {
      ...expected,
      '/data': { ...named('/data', 'data'), ...NO_FLAGS },
      '/disk': { ...named('/disk', 'disk'), ...flags({ nosuid: true }) },
    })
  })

  test('its SDK’s own SandboxBuilder takes the mounts, and comes back', async (t) => {
    const home = temporaryDirectory(t)
    const { same, mounts, refusal } = microsandbox.inSdk(
      home,
      `const { Mount, VolumeStore } = volumes
       const store = await VolumeStore.open({ home: ${JSON.stringify(join(home, 'ours'))} })
       await store.createVolume('data')
       const attachment = await store.attach('worker', {
         '/data': Mount.named('data', { readonly: true }),
         '/tmp': Mount.tmpfs({ sizeMib: 16 }),
       })
       const builder = new microsandbox.SandboxBuilder('worker').image('/usr')
       const same = attachment.configureSandbox(builder) === builder
       const mounts = (await builder.build()).mounts
       let refusal
       try {
         attachment.configureSandbox(new microsandbox.MountBuilder('/'))
       } catch (error) {
         refusal = { name: error.name, field: error.field }
       }
       console.log(JSON.stringify({ same, mounts, refusal }))`,
    )
    assert.equal(same, true)
    assert.deepEqual(refusal, { name: 'InvalidConfigError', field: 'builder' })
    const virtiofs = { statVirtualization: 'strict', hostPermissions: 'private', followRootSymlinks: false }
    assert.deepEqual(mounts, [
      {
        ...{ type: 'Bind', host: join(home, 'ours/volumes/data'), guest: '/data', ...virtiofs, quotaMib: null },
        options: { ...NO_FLAGS, readonly: true },
      },
      { type: 'Tmpfs', guest: '/tmp', sizeMib: 16, options: NO_FLAGS },
    ])
  })
})
