import assert from 'node:assert/strict'
import { existsSync, realpathSync, rmSync, statSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { inspect } from 'node:util'
import {
  FileSystemError,
  InvalidConfigError,
  Volume,
  VolumeAlreadyExistsError,
  VolumeFs,
  VolumeHandle,
  VolumeKind,
  VolumeNotFoundError,
  VolumeStore,
  createVolume,
  getVolume,
  listVolumes,
  removeVolume,
  withVolumeKind,
  withVolumeLabels,
  withVolumeQuota,
  withVolumeSize,
} from '../index.js'
import { outputOf, rejects, runNode, tempDir, tempStore, tempVolume, useDefaultHome } from './support.mjs'

const names = (handles) => handles.map((handle) => handle.name)

test('a volume is created, found, listed and removed', async (t) => {
  const store = await tempStore(t)
  const volume = await store.createVolume('my-data')
  assert.ok(volume instanceof Volume)
  assert.equal(volume.path, path.join(store.home, 'volumes', 'my-data'))
  assert.ok(statSync(volume.path).isDirectory())
  assert.equal((await store.getVolume('my-data')).path, volume.path)
  assert.deepEqual(names(await store.listVolumes()), ['my-data'])
  assert.equal(await store.removeVolume('my-data'), undefined)
  assert.ok(!existsSync(volume.path))
  assert.deepEqual(await store.listVolumes(), [])
  await rejects(store.getVolume('my-data'), VolumeNotFoundError, { volume: 'my-data' })
  await rejects(store.removeVolume('my-data'), VolumeNotFoundError, { volume: 'my-data' })
})

test('a name that is taken is refused, and free again once its volume is removed', async (t) => {
  const { store, volume } = await tempVolume(t)
  await rejects(store.createVolume('v'), VolumeAlreadyExistsError, { volume: 'v' })
  await volume.fs().writeString('old', 'old')
  await volume.remove()
  const again = await store.createVolume('v')
  assert.equal(await again.fs().exists('old'), false)
})

test('options merge from left to right, and labels key by key', async (t) => {
  const store = await tempStore(t)
  await store.createVolume(
    'v',
    { quotaMib: 1, labels: { env: 'dev', team: 'a' } },
    undefined,
    { quotaMib: 64 },
    { kind: 'dir', labels: { env: 'prod', tier: '1' } },
    { kind: null, quotaMib: undefined, labels: null },
  )
  const { kind, quotaMib, labels } = await store.getVolume('v')
  assert.deepEqual(
    { kind, quotaMib, labels },
    { kind: 'dir', quotaMib: 64, labels: { env: 'prod', team: 'a', tier: '1' } },
  )
})

test('the helpers each return one option', async (t) => {
  assert.deepEqual({ ...VolumeKind }, { Dir: 'dir', Disk: 'disk' })
  assert.deepEqual(withVolumeKind(VolumeKind.Disk), { kind: 'disk' })
  assert.deepEqual(withVolumeSize(20), { sizeMib: 20 })
  assert.deepEqual(withVolumeQuota(64), { quotaMib: 64 })
  assert.deepEqual(withVolumeLabels({ env: 'prod' }), { labels: { env: 'prod' } })
  const store = await tempStore(t)
  const labels = { env: 'prod' }
  const option = withVolumeLabels(labels)
  labels.env = 'changed'
  await store.createVolume(
    'v',
    withVolumeKind(VolumeKind.Dir),
    withVolumeQuota(64),
    option,
    withVolumeLabels({ a: 'b' }),
  )
  const handle = await store.getVolume('v')
  assert.equal(handle.quotaMib, 64)
  assert.deepEqual(handle.labels, { env: 'prod', a: 'b' })
})

test('withVolumeLabels refuses a value that is not an object of strings', async (t) => {
  const store = await tempStore(t)
  for (const labels of ['prod', ['prod'], 7, { a: 1 }, { a: null }, { '': 'x' }]) {
    await rejects(store.createVolume('v', withVolumeLabels(labels)), InvalidConfigError, { field: /^labels/ })
  }
  assert.deepEqual(await store.listVolumes(), [])
})

test('labels may have any key and value that is text', async (t) => {
  const store = await tempStore(t)
  const odd = JSON.parse(
    '{"__proto__":"p","constructor":"c","toString":"t","a\\u0000b":"nul\\u0000","7":"seven","é📦":""}',
  )
  await store.createVolume('v', { labels: odd }, withVolumeLabels(odd))
  const { labels } = await store.getVolume('v')
  assert.deepEqual(Object.entries(labels).sort(), Object.entries(odd).sort())
  assert.equal(Object.getPrototypeOf(labels), Object.prototype)
  assert.deepEqual(names(await store.listVolumes({ labels: odd })), ['v'])
})

test('only own options count, whatever Object.prototype was given', async (t) => {
  const store = await tempStore(t)
  const inherited = Object.create({ __proto__: null, inherited: 'x' }, { own: { value: 'y', enumerable: true } })
  Object.prototype.polluted = 'x'
  t.after(() => delete Object.prototype.polluted)
  await store.createVolume('v', { labels: inherited })
  delete Object.prototype.polluted
  assert.deepEqual((await store.getVolume('v')).labels, { own: 'y' })
})

test('labels take at most 64 KiB together', async (t) => {
  const store = await tempStore(t)
  await store.createVolume('full', { labels: { k: 'x'.repeat(64 * 1024 - 1) } })
  await rejects(store.createVolume('over', { labels: { k: 'x'.repeat(64 * 1024) } }), InvalidConfigError, {
    field: 'labels',
  })
})

test('a filter lists the volumes that carry all its labels', async (t) => {
  const store = await tempStore(t)
  await store.createVolume('a', { labels: { env: 'prod', team: 'x' } })
  await store.createVolume('b', { labels: { env: 'prod' } })
  await store.createVolume('c')
  const listed = async (labels) => names(await store.listVolumes({ labels })).sort()
  assert.deepEqual(await listed({ env: 'prod' }), ['a', 'b'])
  assert.deepEqual(await listed({ env: 'prod', team: 'x' }), ['a'])
  assert.deepEqual(await listed({ env: 'dev' }), [])
  assert.deepEqual(await listed({}), ['a', 'b', 'c'])
  await rejects(store.listVolumes({ label: {} }), InvalidConfigError, { field: 'label' })
  await rejects(store.listVolumes({ labels: { env: 1 } }), InvalidConfigError, { field: 'labels.env' })
})

test('the list has the newest first and the name as tie-break', async (t) => {
  const store = await tempStore(t)
  for (const name of ['b', 'a', 'd', 'c']) {
    await store.createVolume(name)
  }
  const listed = await store.listVolumes()
  const expected = [...listed].sort((x, y) => y.createdAt - x.createdAt || (x.name < y.name ? -1 : 1))
  assert.deepEqual(names(listed), names(expected))
  assert.equal(listed.length, 4)
})

test('a handle has every property with its type', async (t) => {
  const before = Date.now()
  const { store, volume } = await tempVolume(t, { quotaMib: 64, labels: { env: 'prod' } })
  const handle = await store.getVolume('v')
  assert.ok(handle instanceof VolumeHandle)
  const { usedBytes, quotaEnforcement, createdAt, ...rest } = handle
  assert.match(handle.id, /^[0-9a-f]{32}$/)
  assert.deepEqual(rest, {
    id: volume.id,
    name: 'v',
    path: volume.path,
    kind: 'dir',
    quotaMib: 64,
    capacityBytes: null,
    diskFormat: null,
    diskFstype: null,
    labels: { env: 'prod' },
  })
  assert.match(quotaEnforcement, /^(host|kernel)$/)
  assert.ok(Number.isInteger(usedBytes) && usedBytes >= 0 && usedBytes % 512 === 0)
  assert.ok(createdAt instanceof Date)
  assert.ok(createdAt.getTime() >= before && createdAt.getTime() <= Date.now())
  assert.deepEqual((await store.listVolumes())[0], handle)
})

test('usedBytes is measured when the handle is made', async (t) => {
  const { store, files } = await tempVolume(t)
  const before = await store.getVolume('v')
  await files.write('x', Buffer.alloc(1 << 20, 1), { durable: true })
  const after = await store.getVolume('v')
  assert.ok(after.usedBytes >= before.usedBytes + (1 << 20))
  assert.equal((await store.listVolumes())[0].usedBytes, after.usedBytes)
})

test('a quota of 0 is unlimited, and null where it is read', async (t) => {
  const store = await tempStore(t)
  await store.createVolume('zero', { quotaMib: 0 })
  await store.createVolume('reset', { quotaMib: 64 }, { quotaMib: 0 })
  await store.createVolume('none')
  for (const name of ['zero', 'reset', 'none']) {
    const { quotaMib, quotaEnforcement } = await store.getVolume(name)
    assert.deepEqual([quotaMib, quotaEnforcement], [null, null], name)
  }
})

test('sizes that do not go with the kind are refused by name', async (t) => {
  const store = await tempStore(t)
  for (const [option, field] of [
    [{ sizeMib: 20 }, 'sizeMib'],
    [{ kind: 'disk' }, 'sizeMib'],
    [{ kind: 'disk', sizeMib: 0 }, 'sizeMib'],
    [{ kind: 'disk', sizeMib: 1 }, 'sizeMib'],
    [{ kind: 'disk', sizeMib: 2 ** 24 + 1 }, 'sizeMib'],
    [{ kind: 'disk', sizeMib: 20, format: 'vmdk' }, 'format'],
    [{ format: 'raw' }, 'format'],
    [{ kind: 'disk', sizeMib: 20, quotaMib: 1 }, 'quotaMib'],
    [{ kind: 'Dir' }, 'kind'],
    [{ kind: 'toString' }, 'kind'],
    [{ quotaMb: 1 }, 'quotaMb'],
    [{ quotaMib: '64' }, 'quotaMib'],
    ...[-1, 1.5, NaN, Infinity, 2 ** 32, 2 ** 32 + 512].map((size) => [{ quotaMib: size }, 'quotaMib']),
    ...[-1, 1.5, NaN, Infinity, 2 ** 32, 2 ** 32 + 512].map((size) => [
      { kind: 'disk', sizeMib: size },
      'sizeMib',
    ]),
  ]) {
    await rejects(store.createVolume('v', option), InvalidConfigError, { field })
  }
  await store.createVolume('largest', { quotaMib: 2 ** 32 - 1 })
  assert.equal((await store.getVolume('largest')).quotaMib, 2 ** 32 - 1)
  assert.deepEqual(names(await store.listVolumes()), ['largest'])
})

test('properties are read-only, enumerable, and shown by JSON.stringify and the console', async (t) => {
  const { store, volume, files } = await tempVolume(t, { labels: { env: 'prod' } })
  const handle = await store.getVolume('v')
  for (const [subject, properties] of [
    [volume, ['id', 'name', 'path']],
    [
      handle,
      [
        'id',
        'name',
        'path',
        'kind',
        'quotaMib',
        'quotaEnforcement',
        'usedBytes',
        'capacityBytes',
        'diskFormat',
        'diskFstype',
        'labels',
        'createdAt',
      ],
    ],
    [files, ['root']],
    [store, ['home']],
  ]) {
    assert.deepEqual(Object.keys(subject), properties)
    assert.deepEqual(Object.keys(JSON.parse(JSON.stringify(subject))), properties)
    for (const property of properties) {
      const value = subject[property]
      assert.throws(() => (subject[property] = 'other'), TypeError, property)
      assert.throws(() => delete subject[property], TypeError, property)
      assert.equal(subject[property], value)
      assert.ok(inspect(subject).includes(`${property}: `), `${property} in ${inspect(subject)}`)
    }
    assert.ok(inspect(subject).startsWith(`${subject.constructor.name} {`))
  }
  assert.throws(() => (handle.labels.env = 'dev'), TypeError)
  assert.equal(JSON.parse(JSON.stringify(handle)).createdAt, handle.createdAt.toISOString())
})

test('a volume and its handle give its files and remove it', async (t) => {
  const { store, volume } = await tempVolume(t)
  const handle = await store.getVolume('v')
  assert.ok(volume.fs() instanceof VolumeFs && handle.fs() instanceof VolumeFs)
  assert.equal(volume.fs().root, volume.path)
  await volume.fs().writeString('x', 'hello')
  assert.equal(await handle.fs().readString('x'), 'hello')
  assert.equal(await handle.remove(), undefined)
  await rejects(volume.remove(), VolumeNotFoundError)
  await rejects(volume.fs().read('x'), VolumeNotFoundError, { volume: 'v' })
  await rejects(volume.fs().writeString('x', 'y'), VolumeNotFoundError, { volume: 'v' })
  assert.ok(!existsSync(volume.path))
})

test('a store opens a home that it makes, absolute or relative, private to its user', async (t) => {
  const dir = realpathSync(tempDir(t))
  const home = path.join(dir, 'a', 'b')
  for (const durability of ['full', 'fast', undefined, null]) {
    const store = await VolumeStore.open({ home, durability })
    assert.equal(store.home, home)
  }
  for (const made of [home, path.join(home, 'volumes'), path.join(home, 'db')]) {
    assert.equal(statSync(made).mode & 0o777, 0o700, made)
  }
  const output = await outputOf(
    `import { VolumeStore } from '${new URL('../index.js', import.meta.url)}'
     const store = await VolumeStore.open({ home: 'here/../below' })
     process.chdir('/')
     await store.createVolume('v')
     console.log(store.home)`,
    { cwd: dir },
  )
  assert.equal(output.trim(), path.join(dir, 'below'))
  assert.ok(existsSync(path.join(dir, 'below', 'volumes', 'v')))
})

test('a store refuses options that it does not know', async () => {
  for (const [options, field] of [
    [{ home: '' }, 'home'],
    [{ home: 7 }, 'home'],
    [{ home: '/a\0b' }, 'home'],
    [{ home: new URL('file:///tmp') }, 'home'],
    [{ durability: 'slow' }, 'durability'],
    [{ durability: true }, 'durability'],
    [{ maxConcurrentCopies: 0 }, 'maxConcurrentCopies'],
    [{ maxConcurrentCopies: 65 }, 'maxConcurrentCopies'],
    [{ maxConcurrentCopies: 1.5 }, 'maxConcurrentCopies'],
    [{ maxConcurrentCopies: '4' }, 'maxConcurrentCopies'],
    [{ Home: '/x' }, 'Home'],
    ['/x', 'options'],
    [['/x'], 'options'],
  ]) {
    await rejects(VolumeStore.open(options), InvalidConfigError, { field })
  }
})

test('two stores on one home show one set of volumes', async (t) => {
  const { store, volume } = await tempVolume(t)
  const other = await VolumeStore.open({ home: store.home })
  assert.deepEqual(names(await other.listVolumes()), ['v'])
  await other.removeVolume('v')
  await rejects(volume.fs().read('x'), VolumeNotFoundError)
})

test('the module functions work on MSB_HOME as it is at each call', async (t) => {
  const first = useDefaultHome(t)
  const volume = await createVolume('v')
  assert.equal(volume.path, path.join(first, 'volumes', 'v'))
  const second = (process.env.MSB_HOME = path.join(tempDir(t), 'second'))
  assert.deepEqual(await listVolumes(), [])
  await rejects(getVolume('v'), VolumeNotFoundError)
  assert.equal((await createVolume('w')).path, path.join(second, 'volumes', 'w'))
  process.env.MSB_HOME = first
  assert.deepEqual(names(await listVolumes()), ['v'])
  assert.equal((await getVolume('v')).path, volume.path)
  await removeVolume('v')
  assert.deepEqual(await listVolumes(), [])
})

test('without MSB_HOME the home is .microsandbox in the user’s own', async (t) => {
  const dir = realpathSync(tempDir(t))
  for (const MSB_HOME of [undefined, '']) {
    const output = await outputOf(
      `const sv = await import(process.env.SV)
       console.log((await sv.createVolume('v${MSB_HOME}')).path, (await sv.VolumeStore.open()).home)`,
      { env: { HOME: dir, MSB_HOME } },
    )
    const home = path.join(dir, '.microsandbox')
    assert.equal(output.trim(), `${path.join(home, 'volumes', `v${MSB_HOME}`)} ${home}`)
  }
})

test('a home that is deleted between two calls is made again', async (t) => {
  const home = useDefaultHome(t)
  const store = await VolumeStore.open({ home })
  await store.createVolume('old')
  const handle = await getVolume('old')
  rmSync(home, { recursive: true })
  assert.deepEqual(await listVolumes(), [])
  await rejects(handle.fs().read('x'), VolumeNotFoundError)
  await createVolume('new')
  assert.deepEqual(names(await store.listVolumes()), ['new'])
})

test('a home that cannot be opened is an error that the caller can fix', async (t) => {
  const home = useDefaultHome(t)
  process.env.MSB_HOME = '/dev/null/home'
  await rejects(listVolumes(), FileSystemError, { code: 'ENOTDIR' })
  process.env.MSB_HOME = home
  assert.deepEqual(await listVolumes(), [])
})

test('the content of a removed volume is deleted by threads that nothing else waits for', async (t) => {
  const home = path.join(tempDir(t), 'home')
  const source = `
    import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
    const { VolumeStore } = await import(process.env.SV)
    const threads = () => readdirSync('/proc/self/task').map((task) => readFileSync('/proc/self/task/' + task + '/comm', 'utf8'))
    const deletes = () => threads().includes('volumes-delete\\n')
    const store = await VolumeStore.open({ home: process.env.V_HOME, durability: 'fast' })
    const volume = await store.createVolume('v')
    mkdirSync(volume.path + '/dir')
    writeFileSync(volume.path + '/dir/file', 'content')
    const before = deletes()
    await store.removeVolume('v')
    console.log(JSON.stringify([before, deletes(), readdirSync(process.env.V_HOME + '/volumes/.trash')]))`
  const { stdout } = await runNode(source, { env: { V_HOME: home } })
  assert.deepEqual(JSON.parse(stdout), [false, true, []])
})
