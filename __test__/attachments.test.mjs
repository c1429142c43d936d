// Which attachments exist, and how long: `attachments`, `detach`, `handOver`.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, copyFileSync, openSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { inspect } from 'node:util'
import {
  AttachmentNotFoundError,
  InvalidConfigError,
  Mount,
  VolumeInUseError,
  VolumeNotFoundError,
  VolumeStore,
  attach,
  attachments,
  createVolume,
  detach,
  removeVolume,
} from '../index.js'
import { outputOf, rejects, runNode, tempDir, tempStore, tempVolume, useDefaultHome } from './support.mjs'

/** A process that runs until the test ends or `end` is called. */
function startProcess(t) {
  const child = spawn('sleep', ['600'], { stdio: 'ignore' })
  const ended = once(child, 'exit')
  const end = async () => {
    child.kill('SIGKILL')
    await ended
  }
  t.after(end)
  return { pid: child.pid, end }
}

/** Waits for the end of a process that is not a child of this one. */
async function hasEnded(pid) {
  const isThere = () => {
    try {
      return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
    } catch {
      return false
    }
  }
  while (isThere()) {
    await setTimeout(1)
  }
}

test('attachments are listed as plain frozen data, newest first', async (t) => {
  const home = useDefaultHome(t)
  await createVolume('data')
  const image = path.join(home, 'image.raw')
  const made = await createVolume('disk', { kind: 'disk', sizeMib: 5 })
  copyFileSync(path.join(made.path, 'disk.raw'), image)
  const before = Date.now()
  const first = await attach('first', { '/data': Mount.named('data') })
  await setTimeout(2) // `createdAt` has a resolution of one millisecond.
  const second = await attach('second', {
    '/data': Mount.named('data', { readonly: true }),
    '/disk': Mount.named('disk'),
    '/image': Mount.disk(image, { readonly: true }),
    '/tmp': Mount.tmpfs(),
  })
  const listed = await attachments()
  const common = { pid: process.pid, owner: 'running' }
  assert.deepEqual(
    listed.map(({ createdAt, ...rest }) => rest),
    [
      {
        id: second.id,
        sandbox: 'second',
        ...common,
        volumes: [
          { name: 'data', guestPath: '/data', subpath: null, readonly: true },
          { name: 'disk', guestPath: '/disk', subpath: null, readonly: false },
        ],
        disks: [{ hostPath: image, guestPath: '/image', readonly: true }],
      },
      {
        id: first.id,
        sandbox: 'first',
        ...common,
        volumes: [{ name: 'data', guestPath: '/data', subpath: null, readonly: false }],
        disks: [],
      },
    ],
  )
  for (const info of listed) {
    assert.ok(info.createdAt instanceof Date && info.createdAt >= before && info.createdAt <= Date.now())
    assert.match(info.id, /^\d+$/)
    for (const frozen of [info, info.volumes, info.disks, ...info.volumes, ...info.disks]) {
      assert.ok(Object.isFrozen(frozen))
    }
    assert.equal(Object.getPrototypeOf(info), Object.prototype)
    assert.deepEqual(structuredClone(info), info)
  }
  const sandboxesOf = async (options) => (await attachments(options)).map(({ sandbox }) => sandbox)
  assert.deepEqual(await sandboxesOf({ volume: 'disk' }), ['second'])
  assert.deepEqual(await sandboxesOf({ volume: 'data', sandbox: 'first' }), ['first'])
  assert.deepEqual(await sandboxesOf({ sandbox: 'unused' }), [])
  await second.detach()
  assert.deepEqual(await sandboxesOf(), ['first'])
})

test('what the list is filtered by is checked', async (t) => {
  const store = await tempStore(t)
  await rejects(store.attachments({ volume: 'nope' }), VolumeNotFoundError, { volume: 'nope' })
  for (const [options, field] of [
    [{ volume: '../x' }, 'name'],
    [{ volume: 1 }, 'volume'],
    [{ sandbox: '' }, 'sandbox'],
    [{ sandbox: 'a\n' }, 'sandbox'],
    [{ pid: 1 }, 'pid'],
    ['v', 'options'],
  ]) {
    await rejects(store.attachments(options), InvalidConfigError, { field })
  }
  assert.deepEqual(await store.attachments(null), [])
})

test('an error about a volume in use lists each holder', async (t) => {
  const { store } = await tempVolume(t)
  const sandbox = startProcess(t)
  const mounts = { '/data': Mount.named('v', { readonly: true }) }
  const reader = await store.attach('reader', mounts, { pid: sandbox.pid })
  const writer = await store.attach('writer', { '/data': Mount.named('v') })
  await rejects(store.removeVolume('v'), VolumeInUseError, {
    sandboxes: ['reader', 'writer'],
    holders: [
      { id: reader.id, sandbox: 'reader', pid: sandbox.pid, owner: 'running', readonly: true },
      { id: writer.id, sandbox: 'writer', pid: process.pid, owner: 'running', readonly: false },
    ],
    message:
      `Volume "v" is attached to "reader" (process ${sandbox.pid}, read-only), "writer" (process ${process.pid}, ` +
      'read-write). Detach it from each, or end the processes.',
  })
})

test('an error about a disk in use lists each holder', async (t) => {
  const store = await tempStore(t)
  await store.createVolume('disk', { kind: 'disk', sizeMib: 5 })
  const { id } = await store.attach('writer', { '/disk': Mount.named('disk') })
  await rejects(store.attach('other', { '/disk': Mount.named('disk') }), VolumeInUseError, {
    holders: [{ id, sandbox: 'writer', pid: process.pid, owner: 'running', readonly: false }],
    message:
      `Volume "disk" is attached to "writer" (process ${process.pid}, read-write), and a disk has one writer or any ` +
      'number of readers. Detach it, or end the process.',
  })
})

test('an attachment is ended by its id, by force where its process runs', async (t) => {
  useDefaultHome(t)
  await createVolume('data')
  const attachment = await attach('worker', { '/data': Mount.named('data') })
  const holders = [{ id: attachment.id, sandbox: 'worker', pid: process.pid, owner: 'running', readonly: false }]
  for (const options of [undefined, null, {}, { force: false }, { force: null }]) {
    await rejects(detach(attachment.id, options), VolumeInUseError, { holders, message: /force: true/ })
  }
  assert.equal(await detach(attachment.id, { force: true }), undefined)
  await rejects(detach(attachment.id, { force: true }), AttachmentNotFoundError, {
    code: 'ERR_ATTACHMENT_NOT_FOUND',
    message: `Attachment "${attachment.id}" does not exist: it was detached, or its process ended. See attachments().`,
  })
  await removeVolume('data')
  await attachment.detach()
})

test('an id that is none is refused', async (t) => {
  const store = await tempStore(t)
  for (const id of ['', 'x', '-1', '+1', '1.5', ' 1', `${2n ** 63n}`, 'x'.repeat(1000)]) {
    await rejects(store.detach(id), InvalidConfigError, { field: 'id' })
  }
  await rejects(store.detach('1', { forced: true }), InvalidConfigError, { field: 'forced' })
  await rejects(store.detach('1', { force: 1 }), InvalidConfigError, { field: 'force' })
  await rejects(store.detach('1'), AttachmentNotFoundError)
})

test('an attachment that another process forgot is found and ended', async (t) => {
  const { store } = await tempVolume(t)
  const other = spawn(
    process.execPath,
    [
      '--input-type=module',
      '-e',
      `const { VolumeStore, Mount } = await import(process.env.SV)
       const store = await VolumeStore.open()
       console.log((await store.attach('forgotten', { '/data': Mount.named('v') })).id)
       process.stdin.resume()`,
    ],
    {
      env: { ...process.env, MSB_HOME: store.home, SV: new URL('../index.js', import.meta.url).href },
      stdio: ['pipe', 'pipe', 'inherit'],
    },
  )
  t.after(() => other.kill('SIGKILL'))
  const [id] = await once(other.stdout.setEncoding('utf8'), 'data')
  const [found] = await store.attachments({ volume: 'v' })
  assert.deepEqual([found.id, found.sandbox, found.pid], [id.trim(), 'forgotten', other.pid])
  await store.detach(found.id, { force: true })
  await store.removeVolume('v')
})

test('an attachment shows the process that it was handed over to', async (t) => {
  const { store, volume } = await tempVolume(t)
  const attachment = await store.attach('worker', { '/data': Mount.named('v') })
  const sandbox = startProcess(t)
  assert.equal(await attachment.handOver(sandbox.pid), undefined)
  assert.equal(attachment.pid, sandbox.pid)
  assert.equal(JSON.parse(JSON.stringify(attachment)).pid, sandbox.pid)
  assert.match(inspect(attachment), new RegExp(`pid: ${sandbox.pid},`))
  assert.throws(() => (attachment.pid = 1), TypeError)
  assert.equal((await store.attachments())[0].pid, sandbox.pid)
  await rejects(volume.remove(), VolumeInUseError, { message: new RegExp(`process ${sandbox.pid},`) })
  await sandbox.end()
  await volume.remove()
  assert.deepEqual(await store.attachments(), [])
})

test('an attachment is not handed over to a process that is not there', async (t) => {
  const { store } = await tempVolume(t)
  const attachment = await store.attach('worker', { '/data': Mount.named('v') })
  const gone = startProcess(t)
  await gone.end()
  for (const pid of [gone.pid, 0, -1, 1.5, NaN, '1', null, undefined, {}, 2 ** 31, 2 ** 32]) {
    await rejects(attachment.handOver(pid), InvalidConfigError, { field: 'pid' })
  }
  await rejects(attachment.handOver(process.pid, { force: true }), InvalidConfigError, { field: 'force' })
  assert.equal(attachment.pid, process.pid)
  await attachment.detach()
  await rejects(attachment.handOver(process.pid), AttachmentNotFoundError)
})

test('a sandbox that was given an attachment holds it when the Node process is killed', async (t) => {
  const { store } = await tempVolume(t)
  const { signal, stdout } = await runNode(
    `import { spawn } from 'node:child_process'
     const { VolumeStore, Mount } = await import(process.env.SV)
     const store = await VolumeStore.open()
     const attachment = await store.attach('outlives', { '/data': Mount.named('v') })
     const sandbox = spawn('sleep', ['600'], { stdio: 'ignore', detached: true })
     await attachment.handOver(sandbox.pid)
     console.log(process.pid, sandbox.pid)
     process.stdout.write('', () => process.kill(process.pid, 'SIGKILL'))`,
    { env: { MSB_HOME: store.home } },
  )
  const [maker, sandbox] = stdout.trim().split(' ').map(Number)
  t.after(() => {
    try {
      process.kill(sandbox, 'SIGKILL')
    } catch {} // It ended in the test.
  })
  assert.equal(signal, 'SIGKILL')
  await hasEnded(maker)
  const { holders } = await rejects(store.removeVolume('v'), VolumeInUseError, { sandboxes: ['outlives'] })
  assert.equal(holders[0].pid, sandbox)
  process.kill(sandbox, 'SIGKILL')
  await hasEnded(sandbox)
  await store.removeVolume('v')
})

test('a disk image stays open and locked for whom it was handed over to, until he ends', async (t) => {
  const store = await tempStore(t)
  const elsewhere = await tempStore(t)
  const made = await store.createVolume('disk', { kind: 'disk', sizeMib: 5 })
  const image = path.join(tempDir(t), 'image.raw')
  copyFileSync(path.join(made.path, 'disk.raw'), image)
  const attachment = await store.attach('vm', { '/disk': Mount.disk(image) })
  const opened = /\/proc\/\d+\/fd\/\d+/.exec(attachment.toQemu().args.join())[0]
  const sandbox = startProcess(t)
  await attachment.handOver(sandbox.pid)
  closeSync(openSync(opened, 'r'))
  assert.ok(attachment.toQemu().args.join().includes(opened))
  // The lock of this process, which another home sees, and the lease, which this home sees.
  await rejects(elsewhere.attach('other', { '/disk': Mount.disk(image) }), VolumeInUseError, {
    message: /in use by another program/,
  })
  await rejects(store.attach('other', { '/disk': Mount.disk(image) }), VolumeInUseError, { sandboxes: ['vm'] })
  await sandbox.end()
  await store.attach('next', { '/disk': Mount.disk(image, { readonly: true }) })
  assert.throws(() => attachment.toQemu(), InvalidConfigError)
})

test('a disk that was handed over is held in its home when the Node process is killed', async (t) => {
  const store = await tempStore(t)
  await store.createVolume('disk', { kind: 'disk', sizeMib: 5 })
  const sandbox = startProcess(t)
  await runNode(
    `const { VolumeStore, Mount } = await import(process.env.SV)
     const store = await VolumeStore.open()
     const attachment = await store.attach('vm', { '/disk': Mount.named('disk') })
     await attachment.handOver(${sandbox.pid})
     process.kill(process.pid, 'SIGKILL')`,
    { env: { MSB_HOME: store.home } },
  )
  await rejects(store.attach('other', { '/disk': Mount.named('disk') }), VolumeInUseError, { sandboxes: ['vm'] })
  await sandbox.end()
  await store.attach('other', { '/disk': Mount.named('disk') })
})

test('a process of another namespace is unknown, and its attachment is ended by its id alone', async (t) => {
  const { store } = await tempVolume(t)
  const sandbox = spawn('unshare', ['--pid', '--fork', '--kill-child', '--mount-proc', process.execPath, '--input-type=module', '-e',
    `const { VolumeStore, Mount } = await import(process.env.SV)
     const store = await VolumeStore.open()
     console.log((await store.attach('container', { '/data': Mount.named('v') })).id)
     process.stdin.resume()`], {
    env: { ...process.env, MSB_HOME: store.home, SV: new URL('../index.js', import.meta.url).href },
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  const closed = once(sandbox, 'close')
  let complaint = ''
  sandbox.stderr.setEncoding('utf8').on('data', (text) => (complaint += text))
  const id = await Promise.race([once(sandbox.stdout.setEncoding('utf8'), 'data').then(([text]) => text.trim()), closed.then(() => null)])
  if (id === null) {
    t.skip(`no name space may be made here: ${complaint.trim()}`)
    return
  }
  const [found] = await store.attachments()
  assert.deepEqual([found.id, found.owner], [id, 'unknown'])
  sandbox.stdin.end()
  await closed
  const { holders } = await rejects(store.removeVolume('v'), VolumeInUseError, { message: /of another PID namespace/ })
  assert.equal(holders[0].owner, 'unknown')
  await store.detach(id)
  await store.removeVolume('v')
})

test('a list is of one home', async (t) => {
  const { store } = await tempVolume(t)
  const other = await tempStore(t)
  const { id } = await store.attach('worker', { '/data': Mount.named('v') })
  assert.deepEqual(await other.attachments(), [])
  await rejects(other.detach(id, { force: true }), AttachmentNotFoundError)
  const again = await VolumeStore.open({ home: store.home })
  assert.equal((await again.attachments())[0].id, id)
})

test('a process that ended has no attachments', async (t) => {
  const { store } = await tempVolume(t)
  await outputOf(
    `const { VolumeStore, Mount } = await import(process.env.SV)
     await (await VolumeStore.open()).attach('crashed', { '/data': Mount.named('v') })
     process.exit()`,
    { env: { MSB_HOME: store.home } },
  )
  assert.deepEqual(await store.attachments(), [])
})
