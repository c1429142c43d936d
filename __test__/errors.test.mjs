import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import fsp from 'node:fs/promises'
import { createRequire } from 'node:module'
import path from 'node:path'
import { test } from 'node:test'
import { MessageChannel, Worker, receiveMessageOnPort } from 'node:worker_threads'
import * as sandboxVolumes from '../index.js'
import errorsModule from '../lib/errors.js'
import { indexPath, isRoot, rejects, root, tempDir, tempVolume, throws, useDefaultHome } from './support.mjs'

const {
  CatalogError,
  FileSystemError,
  InvalidConfigError,
  Mount,
  PathEscapeError,
  QuotaExceededError,
  UnsupportedMountError,
  VolumeAlreadyExistsError,
  VolumeError,
  VolumeInUseError,
  VolumeIncompatibleError,
  VolumeNotFoundError,
  VolumeStore,
} = sandboxVolumes

const require = createRequire(import.meta.url)

/** `[kind, code]` of every kind in src/error. */
function kindsOfTheCore() {
  const source = readFileSync(path.join(root, 'src/error.rs'), 'utf8')
  return [...source.matchAll(/ErrorKind::(\w+) => "(ERR_\w+)"/g)].map(([, kind, code]) => [kind, code])
}

test('every kind of the core has a class that is exported, and every class a kind', () => {
  const kinds = kindsOfTheCore()
  assert.ok(kinds.length >= 13)
  const exported = Object.keys(sandboxVolumes).filter((name) => name.endsWith('Error'))
  // An abort reaches a caller as the reason of the signal.
  const expected = kinds.filter(([kind]) => kind !== 'Aborted').map(([kind]) => `${kind}Error`)
  assert.deepEqual(exported.sort(), ['VolumeError', ...expected].sort())
  for (const [kind, code] of kinds) {
    const error = errorsModule.makeError(code, code, 'a message', { volume: 'v' })
    const Class = kind === 'Aborted' ? VolumeError : sandboxVolumes[`${kind}Error`]
    assert.equal(error.constructor, Class)
    assert.ok(error instanceof VolumeError && error instanceof Error)
    assert.deepEqual({ ...error }, { code, volume: 'v' })
    assert.equal(error.name, Class.name)
    assert.equal(String(error), `${Class.name}: a message`)
    assert.ok(error.stack.startsWith(`${Class.name}: a message\n`))
  }
})

test('docs/errors.md has a row for every code, with its class', async () => {
  const text = readFileSync(path.join(root, 'docs/errors.md'), 'utf8')
  const rows = [...text.matchAll(/^\| `(ERR_\w+)` \| `(\w+)` \|/gm)].map(([, code, name]) => [code, name])
  const expected = kindsOfTheCore().map(([kind, code]) => [code, kind === 'Aborted' ? 'VolumeError' : `${kind}Error`])
  const notLoaded = require('../lib/load-failure.js').explainLoadFailure([], { platforms: [] })
  assert.deepEqual(rows.sort(), [...expected, [notLoaded.code, notLoaded.constructor.name]].sort())
})

test('each kind has its message, which names the subject and says what to do', async (t) => {
  const { store, files } = await tempVolume(t, { quotaMib: 1 })
  await store.createVolume('attached')
  await store.attach('worker', { '/data': Mount.named('attached') })
  await store.attach('helper', { '/data': Mount.named('attached') })
  const virtiofs = await store.attach('vm', { '/data': Mount.bind('/usr', { hostPermissions: 'private' }) })
  const { message: overQuota } = await rejects(
    files.write('big', Buffer.alloc(1 << 20)),
    QuotaExceededError,
    {
      code: 'ERR_QUOTA_EXCEEDED',
      volume: 'v',
      path: 'big',
    },
  )
  assert.match(
    overQuota,
    /^Writing "big" would exceed the quota of volume "v": \d+ of 1048576 bytes are used and 1048576 more are needed\. Nothing was written\.$/,
  )
  const ensured = Mount.namedWith('v', {}, { mode: 'ensure-exists', quotaMib: 2 })
  for (const [call, Class, properties] of [
    [
      () => store.getVolume('nope'),
      VolumeNotFoundError,
      {
        code: 'ERR_VOLUME_NOT_FOUND',
        volume: 'nope',
        message: 'Volume "nope" does not exist. Create it with createVolume, or see listVolumes.',
      },
    ],
    [
      () => store.createVolume('v'),
      VolumeAlreadyExistsError,
      {
        code: 'ERR_VOLUME_ALREADY_EXISTS',
        volume: 'v',
        message: 'Volume "v" already exists. Use getVolume to open it, or choose another name.',
      },
    ],
    [
      () => store.removeVolume('attached'),
      VolumeInUseError,
      {
        code: 'ERR_VOLUME_IN_USE',
        volume: 'attached',
        sandboxes: ['helper', 'worker'],
        message:
          `Volume "attached" is attached to "helper" (process ${process.pid}, read-write), "worker" (process ` +
          `${process.pid}, read-write). Detach it from each, or end the processes.`,
      },
    ],
    [
      () => store.attach('s', { '/data': ensured }),
      VolumeIncompatibleError,
      {
        code: 'ERR_VOLUME_INCOMPATIBLE',
        volume: 'v',
        differences: [{ field: 'quotaMib', wanted: '2', actual: '1' }],
        message: 'Volume "v" exists but differs: "quotaMib" is 1 but 2 was asked for. It was left as it is.',
      },
    ],
    [
      () => files.read('../x'),
      PathEscapeError,
      { code: 'ERR_PATH_ESCAPE', path: '../x', message: 'Path "../x" leads outside the volume' },
    ],
    [
      () => store.createVolume('w', { quotaMib: -1 }),
      InvalidConfigError,
      {
        code: 'ERR_INVALID_CONFIG',
        field: 'quotaMib',
        message: 'Invalid "quotaMib": expected a non-negative integer below 2^32, got -1',
      },
    ],
    [
      async () => virtiofs.toOci(),
      UnsupportedMountError,
      {
        code: 'ERR_UNSUPPORTED_MOUNT',
        path: '/data',
        message:
          'An OCI runtime cannot express the mount at "/data": "hostPermissions" is virtiofs-only; leave it unset',
      },
    ],
    [
      () => files.read('nope'),
      FileSystemError,
      { code: 'ENOENT', message: 'ENOENT: no such file or directory, open "nope" (volume "v")' },
    ],
  ]) {
    await rejects(call(), Class, { ...properties, name: Class.name })
  }
})

/** Creates a home whose catalog is `bytes`. */
async function homeWithCatalog(t, bytes) {
  const home = tempDir(t)
  await fsp.mkdir(path.join(home, 'db'))
  await fsp.writeFile(path.join(home, 'db', 'volumes.db'), bytes)
  return home
}

/** Returns a database without tables, with that `user_version`. */
function emptyDatabase(userVersion) {
  const page = Buffer.alloc(512)
  page.write('SQLite format 3\0')
  page.writeUInt16BE(512, 16)
  page.set([1, 1, 0, 64, 32, 32], 18)
  page.writeUInt32BE(1, 28)
  page.writeUInt32BE(4, 44)
  page.writeUInt32BE(1, 56)
  page.writeUInt32BE(userVersion, 60)
  page.set([0x0d, 0, 0, 0, 0, 2, 0], 100)
  return page
}

test('a catalog of a newer version is refused and left as it is', async (t) => {
  const bytes = emptyDatabase(99)
  const home = await homeWithCatalog(t, bytes)
  await rejects(VolumeStore.open({ home }), CatalogError, {
    code: 'ERR_CATALOG',
    message:
      /^The volume catalog has schema version 99, and this version of sandbox-volumes knows \d+ at most\. It was left/,
  })
  assert.deepEqual(await fsp.readFile(path.join(home, 'db', 'volumes.db')), bytes)
  assert.deepEqual(
    await (await VolumeStore.open({ home: await homeWithCatalog(t, emptyDatabase(0)) })).listVolumes(),
    [],
  )
})

test('a damaged catalog is a CatalogError with the cause', async (t) => {
  const home = await homeWithCatalog(t, 'no catalog at all '.repeat(100))
  const error = await rejects(VolumeStore.open({ home }), CatalogError, {
    code: 'ERR_CATALOG',
    message: /damaged/,
  })
  assert.ok(error.cause instanceof Error)
  assert.match(error.cause.message, /not a database/)
  assert.ok(!Object.keys(error).includes('cause'))
})

test('file errors have Node’s own code and errno, and its syscall', async (t) => {
  const { files, root } = await tempVolume(t)
  await files.mkdir('dir/sub')
  await files.writeString('file', 'x')
  const at = (relPath) => path.join(root, relPath)
  const cases = [
    ['nope', (p) => files.read(p), (p) => fsp.readFile(p)],
    ['nope', (p) => files.readString(p), (p) => fsp.readFile(p, 'utf8')],
    ['nope/x', (p) => files.write(p, 'x'), (p) => fsp.writeFile(p, 'x')],
    ['nope', (p) => files.remove(p), (p) => fsp.unlink(p)],
    ['file/x', (p) => files.read(p), (p) => fsp.readFile(p)],
    ['file/x', (p) => files.write(p, 'x'), (p) => fsp.writeFile(p, 'x')],
    ['file/x', (p) => files.mkdir(p), (p) => fsp.mkdir(p)],
    ['file/x', (p) => files.remove(p), (p) => fsp.unlink(p)],
    ['dir', (p) => files.read(p), (p) => fsp.readFile(p)],
    ['dir', (p) => files.write(p, 'x'), (p) => fsp.writeFile(p, 'x')],
    ['dir', (p) => files.remove(p), (p) => fsp.rmdir(p)],
    ['file', (p) => files.mkdir(p), (p) => fsp.mkdir(p)],
    ['n'.repeat(256), (p) => files.read(p), (p) => fsp.readFile(p)],
    ['nope', (p) => files.list(p), (p) => fsp.readdir(p)],
    ['file', (p) => files.list(p), (p) => fsp.readdir(p)],
    ['nope', (p) => files.stat(p), (p) => fsp.stat(p)],
    ['nope', (p) => files.stat(p, { followSymlinks: false }), (p) => fsp.lstat(p)],
    ['nope', (p) => files.rename(p, 'x'), (p) => fsp.rename(p, at('x'))],
    ['file', (p) => files.rename(p, 'dir'), (p) => fsp.rename(p, at('dir'))],
    ['dir', (p) => files.rename(p, 'dir/sub/x'), (p) => fsp.rename(p, at('dir/sub/x'))],
  ]
  if (!isRoot) {
    await fsp.chmod(at('dir/sub'), 0o555)
    await fsp.chmod(at('file'), 0o000)
    cases.push(['file', (p) => files.read(p), (p) => fsp.readFile(p)])
    cases.push(['dir/sub/x', (p) => files.write(p, 'x'), (p) => fsp.writeFile(p, 'x')])
    cases.push(['dir/sub/x', (p) => files.mkdir(p), (p) => fsp.mkdir(p)])
  }
  for (const [relPath, ours, nodes] of cases) {
    const expected = await nodes(at(relPath)).then(
      () => assert.fail(`Node did ${nodes}`),
      (error) => error,
    )
    const { code, errno, syscall } = expected
    const error = await rejects(ours(relPath), FileSystemError, {
      code,
      errno,
      syscall,
      path: relPath,
      volume: 'v',
    })
    assert.ok(error.message.startsWith(`${code}: `), error.message)
    assert.equal(error.cause, undefined)
  }
})

test('the stack of an error names the function that asked', async (t) => {
  const { store, files } = await tempVolume(t)
  useDefaultHome(t)
  async function asksForAFile() {
    await files.read('nope')
  }
  async function asksForAVolume() {
    await store.getVolume('nope')
  }
  async function asksTheDefaultHome() {
    await sandboxVolumes.getVolume('nope')
  }
  async function asksWrongly() {
    await sandboxVolumes.createVolume('../x')
  }
  async function asksForAFileWrongly() {
    await files.removeAll('..')
  }
  async function asksToCopyWrongly() {
    await files.copyIn('', 'x')
  }
  async function asksForARemovalWrongly() {
    await store.removeVolume('../x')
  }
  async function asksForAMount() {
    Mount.tmpfs({ sizeMib: -1 })
  }
  for (const asks of [
    asksForAFile,
    asksForAVolume,
    asksTheDefaultHome,
    asksWrongly,
    asksForAFileWrongly,
    asksToCopyWrongly,
    asksForARemovalWrongly,
    asksForAMount,
  ]) {
    const { stack } = await rejects(asks(), VolumeError)
    assert.match(stack, new RegExp(` at (async )?${asks.name} `), stack)
    assert.doesNotMatch(stack, /call\.js/)
  }
})

test('Mount throws what the promises reject with', () => {
  for (const [call, field] of [
    [() => Mount.bind(), 'hostPath'],
    [() => Mount.named('../x'), 'name'],
    [() => Mount.namedWith('x', {}, { mode: 'new' }), 'mode'],
    [() => Mount.tmpfs({ size: 1 }), 'size'],
    [() => Mount.disk('x', { format: 'vhd' }), 'format'],
  ]) {
    throws(call, InvalidConfigError, { code: 'ERR_INVALID_CONFIG', field })
  }
})

test('a copy in another thread keeps message and stack; its own properties survive only as an uncaught error', async (t) => {
  const { store } = await tempVolume(t)
  const error = await rejects(store.getVolume('nope'), VolumeNotFoundError)
  const { port1, port2 } = new MessageChannel()
  port1.postMessage(error)
  const posted = receiveMessageOnPort(port2).message
  port1.close()
  for (const copy of [structuredClone(error), posted]) {
    assert.ok(copy instanceof Error)
    assert.equal(copy.message, error.message)
    assert.ok(copy.stack.startsWith('VolumeNotFoundError: '))
    // The structured clone algorithm drops the properties that a class adds. `{ ...error }` keeps them.
    assert.equal(copy.code, undefined)
    assert.deepEqual(structuredClone({ ...error }), { code: 'ERR_VOLUME_NOT_FOUND', volume: 'nope' })
  }
  const worker = new Worker(
    `const { VolumeStore } = require(${JSON.stringify(indexPath)})
     VolumeStore.open({ home: ${JSON.stringify(store.home)} }).then((store) => store.getVolume('nope'))`,
    { eval: true },
  )
  const uncaught = await new Promise((resolve) => worker.on('error', resolve))
  assert.equal(uncaught.code, 'ERR_VOLUME_NOT_FOUND')
  assert.equal(uncaught.volume, 'nope')
  assert.equal(uncaught.message, error.message)
})
