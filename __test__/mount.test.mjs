// `tests/cases/mount.json` is shared with the Rust suite; the top of `tests/suite/mount/mod.rs` says what its fields mean.
import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, realpathSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import v8 from 'node:v8'
import { FileSystemError, InvalidConfigError, Mount, MountKind, UnsupportedMountError } from '../index.js'
import { RecordingBuilder, outputOf, rejects, root, tempDir, tempStore, throws } from './support.mjs'

const FIELDS = [
  'kind',
  'bind',
  'named',
  'volumeId',
  'subpath',
  'namedMode',
  'namedKind',
  'quotaMib',
  'labels',
  'tmpfs',
  'disk',
  'format',
  'fstype',
  'readonly',
  'noexec',
  'nosuid',
  'nodev',
  'sizeMib',
  'statVirtualization',
  'hostPermissions',
]
const FLAGS = ['tmpfs', 'readonly', 'noexec', 'nosuid', 'nodev']

const text = readFileSync(path.join(root, 'tests/cases/mount.json'), 'utf8')

/** Returns a table of the shared cases with its placeholders filled in. */
function cases(table, places = {}) {
  const known = { cwd: process.cwd(), host: '/srv/data', volumes: '/vols', ...places }
  const filled = text.replace(/\$\{(\w+)\}/g, (_, name) => JSON.stringify(known[name]).slice(1, -1))
  return JSON.parse(filled, (_, value) => (value?.$number === 'NaN' ? NaN : value))[table]
}

function titled(table, entry, index) {
  const number = entry.case ? ` (case ${entry.case})` : ''
  return `${table} ${index + 1}${number}: ${entry.name ?? JSON.stringify(entry.path)}`
}

/** Creates the mount of a `call`, or returns the plain object. */
function built([factory, ...args]) {
  return factory === 'plain' ? args[0] : Mount[factory](...args)
}

/** Returns the fields that are neither null nor false. */
const setFields = (config) =>
  Object.fromEntries(Object.entries(config).filter(([, value]) => value !== null && value !== false))

const quoted = (value) => new RegExp(value.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))

for (const [index, entry] of cases('builds').entries()) {
  test(titled('builds', entry, index), async (t) => {
    const { call, gives, rejects: refusal } = entry
    if (call[0] === 'plain') {
      // A fault is found before any lookup. The tests below check the valid mounts.
      const store = await tempStore(t)
      const attached = store.attach('s', { '/data': built(call) })
      if (refusal) {
        await rejects(attached, InvalidConfigError, { field: refusal.field, message: quoted(refusal.says) })
      } else {
        const error = await attached.then(
          () => undefined,
          (reason) => reason,
        )
        assert.ok(!error?.field || ['disk', 'bind', 'kind'].includes(error.field), error?.stack)
      }
      return
    }
    if (refusal) {
      throws(() => built(call), InvalidConfigError, { field: refusal.field, message: quoted(refusal.says) })
      return
    }
    const config = built(call)
    assert.deepEqual(setFields(config), gives)
    assert.deepEqual(Object.keys(config), FIELDS)
    for (const [field, value] of Object.entries(config)) {
      assert.notEqual(value, undefined, field)
      assert.equal(typeof value === 'boolean', FLAGS.includes(field), field)
    }
  })
}

for (const [index, entry] of cases('guestPaths').entries()) {
  test(titled('guestPaths', entry, index), async (t) => {
    const store = await tempStore(t)
    const attaching = store.attach('s', { [entry.path]: Mount.tmpfs() })
    if (entry.gives) {
      assert.equal((await attaching).mounts[0].guestPath, entry.gives)
    } else {
      await rejects(attaching, InvalidConfigError, {
        field: 'guestPath',
        path: entry.path,
        message: quoted(entry.says),
      })
    }
  })
}

for (const [index, entry] of cases('plans').entries()) {
  test(titled('plans', entry, index), async (t) => {
    const store = await tempStore(t)
    const mounts = Object.fromEntries(entry.paths.map((guestPath) => [guestPath, Mount.tmpfs()]))
    // An object cannot hold the same path twice, as the table does.
    assert.equal(Object.keys(mounts).length, entry.paths.length)
    const attaching = store.attach('s', mounts)
    if (entry.gives) {
      assert.deepEqual(
        (await attaching).mounts.map(({ guestPath }) => guestPath),
        entry.gives,
      )
    } else {
      await rejects(attaching, InvalidConfigError, {
        path: entry.rejects.path,
        message: quoted(entry.rejects.says),
      })
    }
  })
}

const RENDERERS = {
  bubblewrap: (attachment) => attachment.toBubblewrap(),
  oci: (attachment) => attachment.toOci(),
  qemu: (attachment) => attachment.toQemu({ socketDir: '/run/vm' }),
  docker: (attachment) => attachment.toDocker(),
  podman: (attachment) => attachment.toDocker({ engine: 'podman' }),
  microsandbox: (attachment) => attachment.toMicrosandbox(),
  sandboxBuilder: (attachment) => attachment.configureSandbox(new RecordingBuilder()).mounts,
  kubernetes: (attachment) => attachment.toKubernetes(),
}

for (const index of cases('renders').keys()) {
  const { mounts: pairs } = cases('renders')[index]
  test(titled('renders', cases('renders')[index], index), async (t) => {
    const store = await tempStore(t)
    const host = realpathSync(tempDir(t))
    const entry = cases('renders', { host, volumes: path.join(store.home, 'volumes') })[index]
    const named = pairs.filter(([, [factory]]) => factory === 'named').map(([, [, name]]) => name)
    for (const name of new Set(named)) {
      await store.createVolume(name)
    }
    const mounts = Object.fromEntries(entry.mounts.map(([guestPath, call]) => [guestPath, built(call)]))
    const attachment = await store.attach('s', mounts)
    let rendered = 0
    for (const [runtime, render] of Object.entries(RENDERERS)) {
      const expected = entry[runtime]
      if (expected === undefined) {
        continue
      }
      rendered += 1
      if (expected.rejects) {
        const { path: guestPath, says } = expected.rejects
        throws(() => render(attachment), UnsupportedMountError, { path: guestPath, message: quoted(says) })
      } else {
        assert.deepEqual(render(attachment), expected)
      }
    }
    assert.ok(rendered > 0)
  })
}

const ALL_FIVE = () => [
  Mount.bind('/usr', { readonly: true, statVirtualization: 'strict', hostPermissions: 'private' }),
  Mount.named('v', { noexec: true }),
  Mount.namedWith(
    'w',
    { nodev: true },
    { mode: 'create', quotaMib: 64, labels: JSON.parse('{"__proto__":"p","a":"b"}') },
  ),
  Mount.tmpfs({ sizeMib: 16, nosuid: true }),
  Mount.disk('/images/x.qcow2', { format: 'qcow2', fstype: 'ext4', readonly: true }),
]

test('each factory gives its kind, with every field', () => {
  assert.deepEqual({ ...MountKind }, { Bind: 'bind', Named: 'named', Tmpfs: 'tmpfs', Disk: 'disk' })
  const configs = ALL_FIVE()
  assert.deepEqual(
    configs.map(({ kind }) => kind),
    ['bind', 'named', 'named', 'tmpfs', 'disk'],
  )
  for (const config of configs) {
    assert.deepEqual(Object.keys(config), FIELDS)
  }
  assert.deepEqual(configs[2].namedKind, 'dir')
  assert.deepEqual(Object.keys(Mount), ['bind', 'named', 'namedWith', 'tmpfs', 'disk'])
  assert.throws(() => (Mount.bind = null), TypeError)
})

test('a mount is frozen, labels included', () => {
  for (const config of ALL_FIVE()) {
    assert.ok(Object.isFrozen(config))
    assert.throws(() => (config.readonly = false), TypeError)
    assert.throws(() => (config.extra = 1), TypeError)
    assert.ok(config.labels === null || Object.isFrozen(config.labels))
  }
})

test('a mount survives JSON, structuredClone and v8.serialize, and attach takes what comes back', async (t) => {
  const copies = [
    (config) => JSON.parse(JSON.stringify(config)),
    structuredClone,
    (config) => v8.deserialize(v8.serialize(config)),
    setFields,
  ]
  for (const copy of copies) {
    const store = await tempStore(t)
    await store.createVolume('v')
    for (const config of ALL_FIVE()) {
      const copied = copy(config)
      if (copy !== setFields) {
        assert.deepEqual(copied, { ...config })
      }
      if (config.kind === 'disk') {
        // The image does not exist, which is found when it is looked up.
        await rejects(store.attach('s', { '/data': copied }), FileSystemError, {
          code: 'ENOENT',
          path: '/images/x.qcow2',
        })
        continue
      }
      const { mounts } = await store.attach('s', { '/data': copied })
      assert.equal(mounts[0].kind, config.kind)
      for (const flag of ['readonly', 'noexec', 'nosuid', 'nodev']) {
        assert.equal(mounts[0][flag], config[flag])
      }
    }
    const { labels, quotaMib } = await store.getVolume('w')
    assert.deepEqual(
      [Object.entries(labels), quotaMib],
      [
        [
          ['__proto__', 'p'],
          ['a', 'b'],
        ],
        64,
      ],
    )
  }
})

test('a copied mount is checked again', async (t) => {
  const store = await tempStore(t)
  for (const [change, field] of [
    [{ bind: 'relative' }, 'bind'],
    [{ kind: 'tmpfs' }, 'tmpfs'],
    [{ kind: 'nfs' }, 'kind'],
    [{ readonly: 1 }, 'readonly'],
    [{ statVirtualization: 'off', hostPermissions: 'mirror' }, 'hostPermissions'],
    [{ extra: true }, 'extra'],
  ]) {
    const mounts = { '/data': { ...Mount.bind('/usr'), ...change } }
    await rejects(store.attach('s', mounts), InvalidConfigError, { field })
  }
})

test('a relative host path is resolved when the mount is built, whatever chdir does later', async (t) => {
  const dir = realpathSync(tempDir(t))
  mkdirSync(path.join(dir, 'data'))
  const output = await outputOf(
    `const { Mount, VolumeStore } = await import(process.env.SV)
     const [bind, disk] = [Mount.bind('data'), Mount.disk('x.raw')]
     process.chdir('/')
     const store = await VolumeStore.open()
     const { mounts } = await store.attach('s', { '/data': bind })
     console.log(JSON.stringify([bind.bind, disk.disk, mounts[0].hostPath]))`,
    { cwd: dir, env: { MSB_HOME: path.join(dir, 'home') } },
  )
  const data = path.join(dir, 'data')
  assert.deepEqual(JSON.parse(output), [data, path.join(dir, 'x.raw'), data])
})

test('case 42: a number that is none is refused by the name of its field', () => {
  const bad = [NaN, -1, 1.5, Infinity, 2 ** 32, 2 ** 32 + 512, -0.5, '16', 16n, true, [16]]
  for (const value of bad) {
    throws(() => Mount.tmpfs({ sizeMib: value }), InvalidConfigError, { field: 'sizeMib' })
    for (const [kind, field] of [
      ['disk', 'sizeMib'],
      ['dir', 'quotaMib'],
    ]) {
      const options = { mode: 'create', kind, [field]: value }
      throws(() => Mount.namedWith('v', {}, options), InvalidConfigError, { field })
    }
  }
  throws(() => Mount.tmpfs({ sizeMib: 0 }), InvalidConfigError, { field: 'sizeMib' })
  assert.equal(Mount.tmpfs({ sizeMib: 2 ** 32 - 1 }).sizeMib, 2 ** 32 - 1)
  assert.equal(Mount.tmpfs({ sizeMib: null }).sizeMib, null)
})
