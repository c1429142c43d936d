// Large arguments and results are converted in small parts, one in each turn of the event loop. These tests count
// what one turn converts, and measure no time.
import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { Mount, VolumeStore } from '../index.js'
import native from '../lib/native.js'
import { countTurns, tempDir, tempVolume } from './support.mjs'

const COUNT = 2000
/** The most values, and the most characters, that one turn converts. */
const [VALUES, CHARACTERS] = [256, 512 * 1024 + 3]

/** Records the arguments, the result and the turn of each call of a method. */
function spy(t, owner, method) {
  const [turns, calls, real] = [countTurns(t), [], owner[method]]
  owner[method] = function (...given) {
    const gave = real.apply(this, given)
    calls.push({ turn: turns.turn, given, gave })
    return gave
  }
  t.after(() => (owner[method] = real))
  return calls
}

/** Asserts that no two of these calls were in the same turn. */
function assertSeparateTurns(calls, least) {
  assert.ok(calls.length >= least, `${calls.length} calls`)
  assert.equal(new Set(calls.map(({ turn }) => turn)).size, calls.length)
}

/** Returns the pages since the last call, and asserts that each came in a separate turn. */
function pagesOf(calls, least) {
  const pages = calls.splice(0).filter(({ gave }) => gave !== null)
  assertSeparateTurns(pages, least)
  return pages.map(({ gave }) => gave)
}

/** Creates a store with so many volumes: a home without a catalog finds the directories. */
async function storeOfMany(t, count) {
  const home = path.join(tempDir(t), 'home')
  for (let index = 0; index < count; index += 1) {
    mkdirSync(path.join(home, 'volumes', `v-${index}`), { recursive: true })
  }
  return VolumeStore.open({ home, durability: 'fast' })
}

test('case 66: many volumes and many problems are listed a few in each turn', async (t) => {
  // Each is a directory that has to be measured.
  const count = 3 * VALUES
  const store = await storeOfMany(t, count)
  const calls = spy(t, native.NativePages.prototype, 'next')
  const listed = await store.listVolumes()
  const pages = pagesOf(calls, count / VALUES)
  assert.ok(pages.every((page) => JSON.parse(page).length <= VALUES))
  assert.deepEqual(listed.map(({ name }) => name).sort(), Array.from({ length: count }, (_, n) => `v-${n}`).sort())
  assert.ok(listed.every((handle) => Object.isFrozen(handle) && typeof handle.usedBytes === 'number'))
  for (let index = 0; index < count; index += 1) {
    mkdirSync(path.join(store.home, 'volumes', `not a name ${index}`))
  }
  const problems = await VolumeStore.check({ home: store.home })
  pagesOf(calls, count / VALUES)
  assert.equal(problems.filter(({ kind }) => kind === 'unrecognized-entry').length, count)
})

test('case 66: many mounts are attached, and many attachments listed, a few in each turn', async (t) => {
  const { store } = await tempVolume(t)
  const pageCalls = spy(t, native.NativePages.prototype, 'next')
  const addCalls = spy(t, native.NativeMounts.prototype, 'add')
  const paths = Array.from({ length: COUNT }, (_, n) => `/m/${String(n).padStart(5, '0')}`)
  const mounts = Object.fromEntries(paths.map((guestPath) => [guestPath, Mount.named('v', { readonly: true })]))
  const attaching = store.attach('s', mounts)
  // The mounts are as they were in the call.
  mounts['/more'] = Mount.named('none')
  delete mounts[paths.at(-1)]
  const attachment = await attaching
  assertSeparateTurns(addCalls, COUNT / VALUES)
  assert.ok(addCalls.every(({ given: [part] }) => Object.keys(part).length <= VALUES))
  pagesOf(pageCalls, COUNT / VALUES)
  assert.deepEqual(attachment.mounts.map(({ guestPath }) => guestPath), paths)
  assert.ok(attachment.mounts.every((mount) => Object.isFrozen(mount)))
  const others = []
  for (let n = 0; n < 300; n += 1) {
    others.push(await store.attach(`s-${n}`, {}))
  }
  pageCalls.length = 0
  assert.equal((await store.attachments()).length, 1 + others.length)
  pagesOf(pageCalls, others.length / VALUES)
  await attachment.detach()
})

test('case 66: the call itself only copies many mounts as they are', async (t) => {
  const { store } = await tempVolume(t)
  const addCalls = spy(t, native.NativeMounts.prototype, 'add')
  const mounts = {}
  for (let n = 0; n < COUNT; n += 1) {
    const labels = { env: 'prod' }
    mounts[`/m/${n}`] = n % 2 === 0 ? { ...Mount.named('v') } : { kind: 'named', named: `made-${n % 4}`, namedMode: 'ensure-exists', labels }
  }
  const attaching = store.attach('s', mounts)
  assert.equal(addCalls.length, 0, 'none is read by the native side in the turn of the call')
  for (const mount of Object.values(mounts)) {
    mount.named = 'none'
    if (mount.labels) mount.labels.env = 'changed'
  }
  const attachment = await attaching
  assertSeparateTurns(addCalls, COUNT / VALUES)
  const volumes = new Set(attachment.mounts.map(({ volume }) => volume))
  assert.deepEqual([...volumes].sort(), ['made-1', 'made-3', 'v'])
  assert.deepEqual({ ...(await store.getVolume('made-1')).labels }, { env: 'prod' })
  await attachment.detach()
})

/** Returns mounts of every shape that the runtimes can express, so many that each shape repeats. */
function mountsOfEachShape(host) {
  const kinds = [
    () => Mount.named('v'),
    () => Mount.named('v', { readonly: true }),
    () => Mount.bind(host),
    () => Mount.tmpfs(),
    (n) => Mount.tmpfs({ sizeMib: 1 + (n % 7), readonly: true }),
  ]
  const paths = Array.from({ length: COUNT }, (_, n) => `/${n % 3 === 0 ? 'ü' : 'm'}/${String(n).padStart(5, '0')}`)
  return paths.map((guestPath, n) => [guestPath, kinds[n % kinds.length](n)])
}

test('case 66: the rendering of many mounts comes in few texts, and equals the renderings of each', async (t) => {
  const { store } = await tempVolume(t, { quotaMib: 8 })
  const all = mountsOfEachShape(tempDir(t))
  const attachment = await store.attach('all', Object.fromEntries(all))
  const builders = () => {
    const mounts = []
    const calls = []
    const mount = new Proxy({}, { get: (_, method) => (...args) => calls.push([method, ...args]) && mount })
    return { mounts, volume: (guestPath, configure) => configure(mount) && mounts.push([guestPath, calls.splice(0)]) }
  }
  const renderings = {
    toBubblewrap: (one) => one.toBubblewrap(),
    toOci: (one) => one.toOci(),
    toQemu: (one) => one.toQemu({ socketDir: '/run' }),
    toDocker: (one) => one.toDocker(),
    toPodman: (one) => one.toDocker({ engine: 'podman' }),
    toMicrosandbox: (one) => one.toMicrosandbox(),
    configureSandbox: (one) => one.configureSandbox(builders()).mounts,
    toKubernetes: (one) => one.toKubernetes(),
    claims: (one) => one.toKubernetes({ claims: true }),
  }
  const parse = spy(t, JSON, 'parse')
  const rendered = {}
  for (const [name, render] of Object.entries(renderings)) {
    parse.length = 0
    rendered[name] = render(attachment)
    const parsed = parse.map(({ given: [text] }) => text.length)
    // The layout has shapes and counts, but neither the names nor the texts of each mount.
    assert.ok(parsed.every((length) => length < 40 * COUNT), `${name}: ${parsed} characters of JSON`)
  }
  const sample = attachment.mounts.map(({ guestPath }, at) => [guestPath, at]).filter((_, at) => at % 37 === 0)
  const configs = new Map(all)
  for (const [guestPath, at] of sample) {
    const alone = await store.attach('one', { [guestPath]: configs.get(guestPath) })
    const numbered = (value) => JSON.parse(JSON.stringify(value).replaceAll(/sv-mount-\d+/g, 'sv-mount-N'))
    const each = (name) => numbered(renderings[name](alone))
    assert.deepEqual(numbered([rendered.toOci[at]]), each('toOci'))
    assert.deepEqual(numbered([rendered.toQemu.guest[at]]), each('toQemu').guest)
    assert.deepEqual(numbered(rendered.toDocker.slice(2 * at, 2 * at + 2)), each('toDocker'))
    assert.deepEqual(numbered(rendered.toPodman.slice(2 * at, 2 * at + 2)), each('toPodman'))
    assert.deepEqual(numbered(rendered.toMicrosandbox.slice(2 * at, 2 * at + 2)), each('toMicrosandbox'))
    assert.deepEqual(numbered([rendered.configureSandbox[at]]), each('configureSandbox'))
    assert.deepEqual(numbered([rendered.toKubernetes.volumes[at]]), each('toKubernetes').volumes)
    assert.deepEqual(numbered([rendered.toKubernetes.volumeMounts[at]]), each('toKubernetes').volumeMounts)
    await alone.detach()
  }
  const shared = all.filter(([, { kind }]) => kind !== 'tmpfs').length
  assert.deepEqual([rendered.toQemu.virtiofs.length, rendered.toQemu.args.length], [shared, 6 + 4 * shared])
  assert.equal(new Set(rendered.toQemu.virtiofs.map(({ socket }) => socket)).size, shared)
  assert.deepEqual([rendered.claims.persistentVolumes.length, rendered.claims.persistentVolumeClaims.length], [1, 1])
  // Each value belongs to the caller alone.
  rendered.toOci[0].options.push('changed')
  rendered.toQemu.guest[0].options.push('changed')
  assert.ok(rendered.toOci.slice(1).every(({ options }) => !options.includes('changed')))
  assert.ok(rendered.toQemu.guest.slice(1).every(({ options }) => !options.includes('changed')))
  await attachment.detach()
})

test('one mount that is refused among many refuses all, wherever it is', async (t) => {
  const { store } = await tempVolume(t)
  for (const at of [0, 700, 999]) {
    const mounts = {}
    for (let n = 0; n < 1000; n += 1) {
      mounts[`/m/${n}`] = n === at ? { ...Mount.named('v'), kind: 'wrong' } : Mount.named('v', { readonly: true })
    }
    await assert.rejects(store.attach('s', mounts), new RegExp(`mount at "/m/${at}"`))
  }
  const twice = { '/m/0/': Mount.named('v') }
  for (let n = 0; n < 1000; n += 1) twice[`/m/${n}`] = Mount.named('v')
  await assert.rejects(store.attach('s', twice), { code: 'ERR_INVALID_CONFIG' })
  assert.deepEqual(await store.attachments(), [])
})

test('case 66: a long text is read and written a piece in each turn', async (t) => {
  const { files } = await tempVolume(t)
  const pageCalls = spy(t, native.NativePages.prototype, 'next')
  const encodeCalls = spy(t, Buffer.prototype, 'write')
  const long = 4 << 20
  for (const [what, text] of [
    ['ASCII', 'text'.repeat(long / 4)],
    ['two bytes each', 'é'.repeat(long)],
    ['pairs', 'x' + '😀'.repeat(long / 2)],
    ['a lone half at each cut', 'x'.repeat(256 * 1024 - 1) + '\ud83d' + 'y'.repeat(long)],
    ['pairs cut', 'x'.repeat(256 * 1024 - 1) + '😀'.repeat(long / 2)],
  ]) {
    const expected = Buffer.from(text)
    for (const [name, write] of [
      ['writeString', () => files.writeString('text', text)],
      ['write', () => files.write('text', text, { atomic: true })],
      ['append', async () => {
        await files.remove('text')
        await files.append('text', text)
      }],
    ]) {
      encodeCalls.length = 0
      await write()
      const pieces = encodeCalls.splice(0)
      assertSeparateTurns(pieces, text.length / CHARACTERS)
      assert.ok(pieces.every(({ given: [piece] }) => piece.length <= CHARACTERS))
      assert.ok((await files.read('text')).equals(expected), `${name} of ${what}`)
    }
    pageCalls.length = 0
    assert.equal(await files.readString('text'), expected.toString(), what)
    const pages = pagesOf(pageCalls, expected.length / CHARACTERS)
    assert.ok(pages.every((page) => Buffer.byteLength(page) <= CHARACTERS))
  }
})

test('a long text has the bytes that Buffer.from gives it, whatever characters it is cut at', async (t) => {
  const { files } = await tempVolume(t)
  const [high, low, pair, cut] = ['\ud83d', '\ude00', '\u{1f600}', 256 * 1024]
  const around = [pair, high + pair, low + pair, pair + low, high + high, low + low, high + high + pair + low + low]
  for (const what of around) {
    for (let before = cut - what.length - 1; before <= cut + 1; before += 1) {
      for (const after of ['', 'é'.repeat(5), 'y'.repeat(cut - 3) + what + 'z']) {
        const text = 'x'.repeat(before) + what + after
        await files.write('text', text)
        const isSame = (await files.read('text')).equals(Buffer.from(text))
        assert.ok(isSame, `${JSON.stringify(what)} at ${before}, then ${after.length} more`)
      }
    }
  }
})

test('a long text whose encoding is aborted is not written', async (t) => {
  const { files } = await tempVolume(t)
  await files.writeString('text', 'old')
  const controller = new AbortController()
  const writing = files.writeString('text', 'x'.repeat(4 << 20), { signal: controller.signal })
  setImmediate(() => controller.abort('mine'))
  assert.equal(await writing.catch((reason) => reason), 'mine')
  assert.equal(await files.readString('text'), 'old')
})
