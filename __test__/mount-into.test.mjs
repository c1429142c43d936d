// `mountInto` and `unmount` in a process with separate user and mount namespaces, so that no mount is visible here.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import path from 'node:path'
import { test } from 'node:test'
import { FileSystemError, InvalidConfigError, Mount, UnsupportedMountError } from '../index.js'
import { isRoot, outputOf, rejects, snapshot, tempDir, tempStore } from './support.mjs'

const UNSHARE = ['unshare', '--user', '--map-root-user', '--mount']

function withoutNameSpaces() {
  const { status, error, stderr } = spawnSync(UNSHARE[0], [...UNSHARE.slice(1), 'true'], { encoding: 'utf8' })
  return status === 0 ? false : `unshare makes no name spaces here: ${error?.message ?? stderr.trim()}`
}

const unavailable = withoutNameSpaces()
const skip = process.env.CI === 'true' ? false : unavailable

/**
 * Returns what a script prints as JSON, in a process that may mount. It has a `store`, and directories `rootfs` and
 * `host`.
 */
async function inNamespaces(t, script) {
  assert.equal(unavailable, false)
  const dir = tempDir(t)
  const source = `
    import { existsSync, mkdirSync, readFileSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
    const { Mount, VolumeStore } = await import(process.env.SV)
    const store = await VolumeStore.open({ home: ${JSON.stringify(path.join(dir, 'home'))}, durability: 'fast' })
    const [rootfs, host] = ${JSON.stringify([path.join(dir, 'rootfs'), path.join(dir, 'host')])}
    mkdirSync(rootfs)
    mkdirSync(host)
    const mounted = () => readFileSync('/proc/self/mountinfo', 'utf8').split('\\n').map((line) => line.split(' ')[4])
      .filter((place) => place?.startsWith(rootfs)).map((place) => place.slice(rootfs.length))
    const refused = (promise) => promise.then(() => null, ({ name, code, field, path, syscall, message }) =>
      ({ name, code, field, path, syscall, message }))
    const result = await (async () => { ${script} })()
    console.log(JSON.stringify(result))`
  return JSON.parse(await outputOf(source, { by: UNSHARE, cwd: dir }))
}

test('an attachment is mounted into a root directory, and unmounted', { skip }, async (t) => {
  const result = await inNamespaces(
    t,
    `const volume = await store.createVolume('data')
     await volume.fs().writeString('seed', 'hello')
     writeFileSync(host + '/file', 'of the host')
     const mounts = { '/data': Mount.named('data'), '/etc/file': Mount.bind(host + '/file', { readonly: true }),
       '/tmp': Mount.tmpfs({ sizeMib: 1 }) }
     const attachment = await store.attach('worker', mounts)
     const results = [await attachment.mountInto('rootfs')]
     const places = mounted()
     const read = [readFileSync(rootfs + '/data/seed', 'utf8'), readFileSync(rootfs + '/etc/file', 'utf8')]
     writeFileSync(rootfs + '/data/new', 'from the sandbox')
     const again = await refused(attachment.mountInto(rootfs))
     results.push(await attachment.unmount(), await attachment.unmount())
     const between = mounted()
     await attachment.mountInto(rootfs)
     await attachment[Symbol.asyncDispose]()
     return { results, places, read, again, between, after: mounted(), kept: await volume.fs().readString('new'),
       gone: await refused(attachment.mountInto(rootfs)) }`,
  )
  assert.deepEqual(result.results, [null, null, null])
  assert.deepEqual(result.places, ['/data', '/etc/file', '/tmp'])
  assert.deepEqual(result.read, ['hello', 'of the host'])
  assert.deepEqual([result.between, result.after, result.kept], [[], [], 'from the sandbox'])
  for (const { name, code, field } of [result.again, result.gone]) {
    assert.deepEqual({ name, code, field }, { name: 'InvalidConfigError', code: 'ERR_INVALID_CONFIG', field: 'attachment' })
  }
})

test('a failure leaves nothing, and says where and why', { skip }, async (t) => {
  const result = await inNamespaces(
    t,
    `symlinkSync(host, rootfs + '/link')
     const disk = { mode: 'create', kind: 'disk', sizeMib: 8 }
     const into = async (mounts) => {
       const attachment = await store.attach('worker', { '/a/b': Mount.tmpfs(), ...mounts })
       const error = await refused(attachment.mountInto(rootfs))
       await attachment.detach()
       return error
     }
     return { escape: await into({ '/link/x': Mount.tmpfs() }), disk: await into({ '/disk': Mount.namedWith('db', {}, disk) }),
       mounted: mounted(), rootfs: readdirSync(rootfs), host: readdirSync(host) }`,
  )
  assert.deepEqual([result.mounted, result.rootfs, result.host], [[], ['link'], []])
  assert.equal(result.escape.name, 'PathEscapeError')
  assert.equal(result.escape.path, '/link/x')
  assert.equal(result.disk.name, 'FileSystemError')
  assert.match(result.disk.code, /^(EPERM|EACCES)$/)
  assert.match(result.disk.message, /a disk needs root of the host/)
})

test('a signal that fires before or during the call leaves nothing', { skip }, async (t) => {
  const result = await inNamespaces(
    t,
    `const mounts = Object.fromEntries(Array.from({ length: 50 }, (_, at) => ['/m/' + at, Mount.tmpfs()]))
     const attachment = await store.attach('worker', mounts)
     const reasons = []
     for (const abortAt of ['before', 'during']) {
       const controller = new AbortController()
       const abort = () => controller.abort(abortAt)
       if (abortAt === 'before') abort()
       const mounting = attachment.mountInto(rootfs, { signal: controller.signal })
       abort()
       reasons.push(await mounting.catch((reason) => reason))
     }
     return { reasons, mounted: mounted(), rootfs: readdirSync(rootfs) }`,
  )
  assert.deepEqual(result, { reasons: ['before', 'during'], mounted: [], rootfs: [] })
})

test('mounts of a killed process are gone when the home is next opened', { skip }, async (t) => {
  const result = await inNamespaces(
    t,
    `const { spawnSync } = await import('node:child_process')
     await store.createVolume('data')
     const source = \`const { Mount, VolumeStore } = await import(process.env.SV)
       const store = await VolumeStore.open({ home: \${JSON.stringify(store.home)} })
       await (await store.attach('killed', { '/data': Mount.named('data') })).mountInto(\${JSON.stringify(rootfs)})
       process.kill(process.pid, 'SIGKILL')\`
     const { signal } = spawnSync(process.execPath, ['--input-type=module', '-e', source])
     const left = mounted()
     await VolumeStore.open({ home: store.home, durability: 'fast' })
     return { signal, left, after: mounted() }`,
  )
  assert.deepEqual(result, { signal: 'SIGKILL', left: ['/data'], after: [] })
})

test('without the right to mount, the error says what is needed', async (t) => {
  const dir = tempDir(t)
  const rootfs = tempDir(t)
  const source = `
    const { Mount, VolumeStore } = await import(process.env.SV)
    const store = await VolumeStore.open({ home: ${JSON.stringify(path.join(dir, 'home'))}, durability: 'fast' })
    const attachment = await store.attach('worker', { '/a/b': Mount.tmpfs() })
    const error = await attachment.mountInto(${JSON.stringify(rootfs)}).catch((error) => error)
    console.log(JSON.stringify({ ...error, name: error.name, message: error.message }))`
  const by = isRoot ? ['setpriv', '--bounding-set=-sys_admin'] : []
  const { name, code, path: at, message } = JSON.parse(await outputOf(source, { by }))
  assert.deepEqual({ name, code, at }, { name: 'FileSystemError', code: 'EPERM', at: '/a/b' })
  assert.match(message, /CAP_SYS_ADMIN/)
  assert.deepEqual(snapshot(rootfs), {})
})

test('what cannot be mounted on the host is refused before anything is asked of the kernel', async (t) => {
  const store = await tempStore(t)
  await store.createVolume('data')
  const rootfs = tempDir(t)
  const attach = (mount) => store.attach('worker', { '/data': mount })
  const virtiofs = await attach(Mount.named('data', { hostPermissions: 'mirror' }))
  await rejects(virtiofs.mountInto(rootfs), UnsupportedMountError, { path: '/data', message: /virtiofs/ })
  const disk = { mode: 'create', kind: 'disk', sizeMib: 8, format: 'qcow2' }
  const qcow2 = await attach(Mount.namedWith('db', {}, disk))
  await rejects(qcow2.mountInto(rootfs), UnsupportedMountError, { path: '/data', message: /qcow2/ })
  const attachment = await attach(Mount.tmpfs())
  for (const inHome of [store.home, path.join(store.home, 'volumes/data')]) {
    await rejects(attachment.mountInto(inHome), InvalidConfigError, { field: 'rootfs' })
  }
  await rejects(attachment.mountInto(path.join(rootfs, 'missing')), FileSystemError, { code: 'ENOENT' })
  await rejects(attachment.mountInto(''), InvalidConfigError, { field: 'rootfs' })
})
