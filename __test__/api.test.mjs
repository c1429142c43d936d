// Each function of the Go page of microsandbox for volumes, with its counterpart here and a check. Exception:
// GetDefaultVolume, which only its cloud has.
import assert from 'node:assert/strict'
import { existsSync, realpathSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import * as sandboxVolumes from '../index.js'
import { rejects, tempDir, useDefaultHome } from './support.mjs'

const {
  Mount,
  MountKind,
  PathEscapeError,
  VolumeAlreadyExistsError,
  VolumeKind,
  VolumeNotFoundError,
  attach,
  createVolume,
  getVolume,
  listVolumes,
  removeVolume,
  withVolumeKind,
  withVolumeLabels,
  withVolumeQuota,
  withVolumeSize,
} = sandboxVolumes

const flags = { readonly: true, noexec: true, nosuid: true, nodev: true }
const created = (...options) => createVolume('v', ...options)
const handle = async (...options) => (await created(...options), getVolume('v'))
const files = async () => (await created()).fs()
const equals = (actual, expected) => assert.deepEqual(actual, expected)
const provisioned = (options) => Mount.namedWith('v', {}, { mode: 'create', ...options })

/** The name in Go, the name here, and a check that uses it in a home for this test. */
const API = [
  ['CreateVolume', 'createVolume', async () => assert.ok(existsSync((await createVolume('v')).path))],
  ['GetVolume', 'getVolume', async () => equals((await handle()).name, 'v')],
  ['ListVolumes', 'listVolumes', async () => (await created(), equals((await listVolumes())[0].name, 'v'))],
  [
    'RemoveVolume',
    'removeVolume',
    async () => (await created(), await removeVolume('v'), equals(await listVolumes(), [])),
  ],

  ['Volume.Name', 'Volume#name', async () => equals((await created()).name, 'v')],
  [
    'Volume.Path',
    'Volume#path',
    async (home) => equals((await created()).path, path.join(home, 'volumes/v')),
  ],
  ['Volume.FS', 'Volume#fs', async () => equals(await (await created()).fs().exists('.'), true)],
  [
    'Volume.Remove',
    'Volume#remove',
    async () => (await (await created()).remove(), equals(await listVolumes(), [])),
  ],

  ['VolumeHandle.Name', 'VolumeHandle#name', async () => equals((await handle()).name, 'v')],
  [
    'VolumeHandle.Path',
    'VolumeHandle#path',
    async (home) => equals((await handle()).path, path.join(home, 'volumes/v')),
  ],
  ['VolumeHandle.Kind', 'VolumeHandle#kind', async () => equals((await handle()).kind, VolumeKind.Dir)],
  [
    'VolumeHandle.QuotaMiB',
    'VolumeHandle#quotaMib',
    async () => equals((await handle({ quotaMib: 64 })).quotaMib, 64),
  ],
  [
    'VolumeHandle.UsedBytes',
    'VolumeHandle#usedBytes',
    async () => equals(typeof (await handle()).usedBytes, 'number'),
  ],
  [
    'VolumeHandle.CapacityBytes',
    'VolumeHandle#capacityBytes',
    async () => equals((await handle()).capacityBytes, null),
  ],
  [
    'VolumeHandle.DiskFormat',
    'VolumeHandle#diskFormat',
    async () => equals((await handle()).diskFormat, null),
  ],
  [
    'VolumeHandle.DiskFstype',
    'VolumeHandle#diskFstype',
    async () => equals((await handle()).diskFstype, null),
  ],
  [
    'VolumeHandle.Labels',
    'VolumeHandle#labels',
    async () => equals((await handle({ labels: { a: 'b' } })).labels, { a: 'b' }),
  ],
  [
    'VolumeHandle.CreatedAt',
    'VolumeHandle#createdAt',
    async () => assert.ok((await handle()).createdAt instanceof Date),
  ],
  ['VolumeHandle.FS', 'VolumeHandle#fs', async () => equals(await (await handle()).fs().exists('x'), false)],
  [
    'VolumeHandle.Remove',
    'VolumeHandle#remove',
    async () => (await (await handle()).remove(), equals(await listVolumes(), [])),
  ],

  [
    'VolumeFs.Root',
    'VolumeFs#root',
    async (home) => equals((await files()).root, path.join(home, 'volumes/v')),
  ],
  ['VolumeFs.Write', 'VolumeFs#write', () => seeded((fs) => fs.write('x', Buffer.from('new')), 'new')],
  ['VolumeFs.WriteString', 'VolumeFs#writeString', () => seeded((fs) => fs.writeString('x', 'new'), 'new')],
  [
    'VolumeFs.Read',
    'VolumeFs#read',
    () => seeded(async (fs) => equals(await fs.read('x'), Buffer.from('seed'))),
  ],
  [
    'VolumeFs.ReadString',
    'VolumeFs#readString',
    () => seeded(async (fs) => equals(await fs.readString('x'), 'seed')),
  ],
  [
    'VolumeFs.Mkdir',
    'VolumeFs#mkdir',
    () => seeded((fs) => fs.mkdir('a/b').then(() => fs.writeString('a/b/c', ''))),
  ],
  ['VolumeFs.Remove', 'VolumeFs#remove', () => seeded((fs) => fs.remove('x'), null)],
  ['VolumeFs.RemoveAll', 'VolumeFs#removeAll', () => seeded((fs) => fs.removeAll('x'), null)],
  ['VolumeFs.Exists', 'VolumeFs#exists', () => seeded(async (fs) => equals(await fs.exists('x'), true))],

  // These three are from its TypeScript page.
  [
    'VolumeFs.list',
    'VolumeFs#list',
    () => seeded(async (fs) => equals((await fs.list('')).map(({ path }) => path), ['x'])),
  ],
  ['VolumeFs.stat', 'VolumeFs#stat', () => seeded(async (fs) => equals((await fs.stat('x')).size, 4))],
  ['VolumeFs.rename', 'VolumeFs#rename', () => seeded((fs) => fs.rename('x', 'y'), null)],

  ['WithVolumeKind', 'withVolumeKind', async () => equals((await handle(withVolumeKind('dir'))).kind, 'dir')],
  // The size of a disk. Disk volumes are refused in this version, and a directory has no size.
  [
    'WithVolumeSize',
    'withVolumeSize',
    () => rejects(created(withVolumeSize(1)), sandboxVolumes.InvalidConfigError, { field: 'sizeMib' }),
  ],
  [
    'WithVolumeQuota',
    'withVolumeQuota',
    async () => equals((await handle(withVolumeQuota(64))).quotaMib, 64),
  ],
  [
    'WithVolumeLabels',
    'withVolumeLabels',
    async () => equals((await handle(withVolumeLabels({ a: 'b' }))).labels, { a: 'b' }),
  ],
  ['VolumeConfig.Kind', 'VolumeOption.kind', async () => equals((await handle({ kind: 'dir' })).kind, 'dir')],
  [
    'VolumeConfig.SizeMiB',
    'VolumeOption.sizeMib',
    () => rejects(created({ sizeMib: 1 }), sandboxVolumes.InvalidConfigError, { field: 'sizeMib' }),
  ],
  [
    'VolumeConfig.QuotaMiB',
    'VolumeOption.quotaMib',
    async () => equals((await handle({ quotaMib: 64 })).quotaMib, 64),
  ],
  [
    'VolumeConfig.Labels',
    'VolumeOption.labels',
    async () => equals((await handle({ labels: { a: 'b' } })).labels, { a: 'b' }),
  ],
  ['VolumeKindDir', 'VolumeKind.Dir', () => equals(VolumeKind.Dir, 'dir')],
  ['VolumeKindDisk', 'VolumeKind.Disk', () => equals(VolumeKind.Disk, 'disk')],

  [
    'Mount.Bind',
    'Mount.bind',
    async () => equals((await attached(Mount.bind('/usr'))).hostPath, realpathSync('/usr')),
  ],
  [
    'Mount.Named',
    'Mount.named',
    async () => (await created(), equals((await attached(Mount.named('v'))).volume, 'v')),
  ],
  [
    'Mount.NamedWith',
    'Mount.namedWith',
    async () => (equals((await attached(provisioned())).volume, 'v'), getVolume('v')),
  ],
  ['Mount.Tmpfs', 'Mount.tmpfs', async () => equals((await attached(Mount.tmpfs())).kind, 'tmpfs')],
  ['Mount.Disk', 'Mount.disk', () => equals(Mount.disk('/x.raw').kind, 'disk')],
  ['MountKindBind', 'MountKind.Bind', () => equals(Mount.bind('/x').kind, MountKind.Bind)],
  ['MountKindNamed', 'MountKind.Named', () => equals(Mount.named('v').kind, MountKind.Named)],
  ['MountKindTmpfs', 'MountKind.Tmpfs', () => equals(Mount.tmpfs().kind, MountKind.Tmpfs)],
  ['MountKindDisk', 'MountKind.Disk', () => equals(Mount.disk('/x').kind, MountKind.Disk)],

  ['MountConfig.Kind()', 'MountConfig.kind', () => equals(Mount.tmpfs().kind, 'tmpfs')],
  ['MountConfig.Bind', 'MountConfig.bind', () => equals(Mount.bind('/x').bind, '/x')],
  ['MountConfig.Named', 'MountConfig.named', () => equals(Mount.named('v').named, 'v')],
  ['MountConfig.NamedMode', 'MountConfig.namedMode', () => equals(Mount.named('v').namedMode, 'existing')],
  ['MountConfig.NamedKind', 'MountConfig.namedKind', () => equals(provisioned().namedKind, 'dir')],
  ['MountConfig.QuotaMiB', 'MountConfig.quotaMib', () => equals(provisioned({ quotaMib: 64 }).quotaMib, 64)],
  ['MountConfig.Tmpfs', 'MountConfig.tmpfs', () => equals(Mount.tmpfs().tmpfs, true)],
  ['MountConfig.Disk', 'MountConfig.disk', () => equals(Mount.disk('/x.raw').disk, '/x.raw')],
  [
    'MountConfig.Format',
    'MountConfig.format',
    () => equals(Mount.disk('/x', { format: 'qcow2' }).format, 'qcow2'),
  ],
  [
    'MountConfig.Fstype',
    'MountConfig.fstype',
    () => equals(Mount.disk('/x', { fstype: 'ext4' }).fstype, 'ext4'),
  ],
  ['MountConfig.SizeMiB', 'MountConfig.sizeMib', () => equals(Mount.tmpfs({ sizeMib: 16 }).sizeMib, 16)],
  ...[
    ['Readonly', 'readonly'],
    ['Noexec', 'noexec'],
    ['Nosuid', 'nosuid'],
    ['Nodev', 'nodev'],
  ].flatMap(([go, name]) => [
    [
      `MountConfig.${go}`,
      `MountConfig.${name}`,
      () => equals(Mount.bind('/x', { [name]: true })[name], true),
    ],
    [
      `MountOptions.${go}`,
      `MountOptions.${name}`,
      async () => equals((await attached(Mount.bind('/usr', { [name]: true })))[name], true),
    ],
    [
      `TmpfsOptions.${go}`,
      `TmpfsOptions.${name}`,
      async () => equals((await attached(Mount.tmpfs({ [name]: true })))[name], true),
    ],
    [`DiskOptions.${go}`, `DiskOptions.${name}`, () => equals(Mount.disk('/x', flags)[name], true)],
  ]),
  ...[
    ['StatVirtualization', 'statVirtualization', 'relaxed'],
    ['HostPermissions', 'hostPermissions', 'mirror'],
  ].flatMap(([go, name, value]) => [
    [
      `MountConfig.${go}`,
      `MountConfig.${name}`,
      () => equals(Mount.bind('/x', { [name]: value })[name], value),
    ],
    [
      `MountOptions.${go}`,
      `MountOptions.${name}`,
      async () => equals((await attached(Mount.bind('/usr', { [name]: value })))[name], value),
    ],
  ]),
  [
    'NamedVolumeOptions.Mode',
    'NamedVolumeOptions.mode',
    () => equals(provisioned({ mode: 'ensure-exists' }).namedMode, 'ensure-exists'),
  ],
  [
    'NamedVolumeOptions.Kind',
    'NamedVolumeOptions.kind',
    () => equals(provisioned({ kind: 'disk', sizeMib: 8 }).namedKind, 'disk'),
  ],
  [
    'NamedVolumeOptions.SizeMiB',
    'NamedVolumeOptions.sizeMib',
    () => equals(provisioned({ kind: 'disk', sizeMib: 20 }).sizeMib, 20),
  ],
  [
    'NamedVolumeOptions.QuotaMiB',
    'NamedVolumeOptions.quotaMib',
    async () => (await attached(provisioned({ quotaMib: 64 })), equals((await getVolume('v')).quotaMib, 64)),
  ],
  [
    'NamedVolumeOptions.Labels',
    'NamedVolumeOptions.labels',
    async () => (
      await attached(provisioned({ labels: { a: 'b' } })),
      equals((await getVolume('v')).labels, { a: 'b' })
    ),
  ],
  [
    'TmpfsOptions.SizeMiB',
    'TmpfsOptions.sizeMib',
    async () => equals((await attached(Mount.tmpfs({ sizeMib: 16 }))).sizeMib, 16),
  ],
  [
    'DiskOptions.Format',
    'DiskOptions.format',
    () => equals(Mount.disk('/x', { format: 'vmdk' }).format, 'vmdk'),
  ],
  [
    'DiskOptions.Fstype',
    'DiskOptions.fstype',
    () => equals(Mount.disk('/x', { fstype: 'xfs' }).fstype, 'xfs'),
  ],
  [
    'WithMounts',
    'attach',
    async () => equals((await attach('worker', { '/tmp': Mount.tmpfs() })).mounts.length, 1),
  ],

  [
    'ErrPathEscape',
    'PathEscapeError',
    async () => rejects((await files()).read('../x'), PathEscapeError, { code: 'ERR_PATH_ESCAPE' }),
  ],
  [
    'ErrVolumeNotFound',
    'VolumeNotFoundError',
    () => rejects(getVolume('v'), VolumeNotFoundError, { code: 'ERR_VOLUME_NOT_FOUND' }),
  ],
  [
    'ErrVolumeAlreadyExists',
    'VolumeAlreadyExistsError',
    async () => (
      await created(),
      rejects(created(), VolumeAlreadyExistsError, { code: 'ERR_VOLUME_ALREADY_EXISTS' })
    ),
  ],
]

/** Calls a function on a volume that has `x`. `then` is the content afterwards, or null for none. */
async function seeded(act, then) {
  const fs = await files()
  await fs.writeString('x', 'seed')
  await act(fs)
  if (then !== undefined) {
    equals((await fs.exists('x')) ? await fs.readString('x') : null, then)
  }
}

const attached = async (mount) => (await attach('worker', { '/data': mount })).mounts[0]

for (const [go, ours, check] of API) {
  test(`${go} is ${ours}`, async (t) => {
    await check(useDefaultHome(t, path.join(tempDir(t), 'home')))
  })
}

test('the table names everything that a microsandbox user may look for, once', () => {
  const named = API.map(([go]) => go)
  assert.equal(new Set(named).size, named.length)
  assert.ok(named.length >= 80)
  for (const [, ours] of API) {
    const [owner] = ours.split(/[.#]/)
    const typesOnly = [
      'VolumeOption',
      'MountConfig',
      'MountOptions',
      'TmpfsOptions',
      'DiskOptions',
      'NamedVolumeOptions',
    ]
    assert.ok(typesOnly.includes(owner) || owner in sandboxVolumes, `${owner} is not exported`)
  }
})
