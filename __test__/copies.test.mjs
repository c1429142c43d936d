// Two copies of the package in one process, as npm installs them for two dependents.
import assert from 'node:assert/strict'
import { copyFileSync, cpSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { test } from 'node:test'
import { Mount, VolumeStore } from '../index.js'
import { addonFile, changeCatalog, outputOf, root, tempDir } from './support.mjs'

/** Loads a copy of the package, with a separate addon and so a separate SQLite. */
function loadCopy(directory) {
  for (const name of ['index.js', 'package.json', 'lib']) {
    cpSync(path.join(root, name), path.join(directory, name), { recursive: true })
  }
  copyFileSync(addonFile, path.join(directory, path.basename(addonFile)))
  return createRequire(path.join(directory, 'x'))('./index.js')
}

test('two copies of the addon in one process share a home and lose nothing', async (t) => {
  const home = tempDir(t)
  const copy = loadCopy(tempDir(t))
  assert.notEqual(copy.VolumeStore, VolumeStore)
  const copies = [VolumeStore, copy.VolumeStore]
  const stores = await Promise.all(copies.map((each) => each.open({ home, durability: 'fast' })))
  const rounds = 60
  const loops = [0, 1, 2, 3].map(async (loop) => {
    const store = stores[loop % 2]
    for (let round = 0; round < rounds; round++) {
      await store.createVolume(`kept-${loop}-${round}`)
      const passing = await store.createVolume(`passing-${loop}`)
      await passing.remove()
    }
  })
  await Promise.all(loops)
  for (const store of [...stores, await VolumeStore.open({ home })]) {
    assert.equal((await store.listVolumes()).length, 4 * rounds)
  }
})

test('neither of two copies fails to read while the other writes, opens and closes the home', async (t) => {
  const home = tempDir(t)
  const copy = loadCopy(tempDir(t))
  const copies = [{ VolumeStore }, copy]
  const open = () => Promise.all(copies.map(({ VolumeStore }) => VolumeStore.open({ home, durability: 'fast' })))
  const stores = await open()
  // So large that it takes a while to read.
  const labels = { large: 'x'.repeat(60_000) }
  const kept = Array.from({ length: 40 }, (_, n) => `kept-${n}`)
  for (const name of kept) await stores[0].createVolume(name, { labels })
  const rounds = 20
  let writing = 4
  const write = async (store, name) => {
    try {
      for (let round = 0; round < rounds; round++) {
        await store.createVolume(name, { labels: { large: 'y'.repeat(60_000) } })
        await (await store.attach('s', { '/data': Mount.named(name) })).detach()
        await store.removeVolume(name)
      }
    } finally {
      writing -= 1
    }
  }
  const read = async (store) => {
    for (let at = 0; writing > 0; at++) {
      const listed = (await store.listVolumes({ labels })).map(({ name }) => name)
      assert.deepEqual(listed.sort(), [...kept].sort())
      await store.getVolume(kept[at % kept.length])
    }
  }
  const check = async ({ VolumeStore }) => {
    while (writing > 0) assert.deepEqual(await VolumeStore.check({ home }), [])
  }
  await Promise.all([
    ...stores.flatMap((store, at) => [write(store, `a-${at}`), write(store, `b-${at}`)]),
    ...stores.flatMap((store) => [read(store), read(store)]),
    ...copies.map(check),
  ])
  for (const store of [...stores, ...(await open())]) assert.equal((await store.listVolumes()).length, kept.length)
})

/** Returns the POSIX locks of this process on the catalog of a home, which closing a file releases. */
function locksOn(home) {
  const inodes = ['volumes.db', 'volumes.db-shm'].map((name) => statSync(path.join(home, 'db', name)).ino)
  // Not from /proc/locks: while locks of other processes come and go, a read may omit one that exists.
  const infos = readdirSync('/proc/self/fdinfo').map((fd) => {
    try {
      return readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8')
    } catch (error) {
      if (error.code !== 'ENOENT') throw error
      return ''
    }
  })
  const locks = infos.flatMap((info) => info.split('\n').filter((line) => line.startsWith('lock:')))
  const rows = locks
    .map((line) => line.split(/\s+/).slice(1))
    .filter(([, kind, , , , file]) => kind === 'POSIX' && inodes.includes(Number(file.split(':')[2])))
    .map(([, , , access, , file, ...bytes]) => `${access} ${file} ${bytes}`)
  // Each descriptor of a file lists all locks of the process on the file.
  return [...new Set(rows)].sort()
}

/** Creates a home that is open here and known to another copy. Returns the locks on it. */
async function sharedHome(t) {
  const home = tempDir(t)
  const copy = loadCopy(tempDir(t))
  const store = await VolumeStore.open({ home, durability: 'fast' })
  await store.createVolume('v')
  const before = locksOn(home)
  assert.ok(before.length >= 2, before.join('\n'))
  return { home, copy, store, before }
}

test('a copy that closes a home leaves the locks of the other in place', async (t) => {
  const { home, copy, store, before } = await sharedHome(t)
  for (let round = 0; round < 3; round++) assert.deepEqual(await copy.VolumeStore.check({ home }), [])
  assert.deepEqual(locksOn(home), before)
  assert.equal((await store.listVolumes()).length, 1)
})

test('a copy that fails to open a home leaves the locks of the other in place', async (t) => {
  const { home, copy, store, before } = await sharedHome(t)
  const version = changeCatalog(home, 'PRAGMA user_version')
  changeCatalog(home, 'PRAGMA user_version = 1000000')
  const open = () => copy.VolumeStore.open({ home })
  await assert.rejects(open, { code: 'ERR_CATALOG', message: /schema version 1000000/ })
  const held = readdirSync('/proc/self/fd').length
  for (let round = 0; round < 10; round++) await assert.rejects(open)
  assert.deepEqual(locksOn(home), before)
  assert.ok(readdirSync('/proc/self/fd').length <= held + 2, 'each of them keeps the catalog open')
  changeCatalog(home, `PRAGMA user_version = ${version}`)
  const opened = await open()
  await opened.createVolume('w')
  assert.equal((await store.listVolumes()).length, 2)
  assert.equal((await opened.listVolumes()).length, 2)
})

test('opening one home again and again takes no more descriptors', async (t) => {
  const home = tempDir(t)
  const first = await VolumeStore.open({ home })
  const held = () => readdirSync('/proc/self/fd').length
  const before = held()
  const others = await Promise.all(Array.from({ length: 50 }, () => VolumeStore.open({ home })))
  assert.ok(held() <= before + 5, `${held() - before} more for ${others.length} stores`)
  await first.createVolume('v')
  assert.equal((await others[49].listVolumes()).length, 1)
})

/** Asserts that errors are instances of the classes of `first` and of `second`, whichever copy created them. */
const checkErrors = `
const assert = require('node:assert/strict')
function thrownBy(call) {
  try { call() } catch (error) { return error }
}
async function check(first, second, home) {
  assert.notEqual(first.VolumeError, second.VolumeError)
  for (const { Mount, VolumeStore } of [first, second]) {
    const store = await VolumeStore.open({ home })
    const files = (await store.createVolume('v')).fs()
    await files.writeString('f', 'x')
    const controller = new AbortController()
    const abort = () => controller.abort('mine') ?? true
    const errors = {
      VolumeNotFoundError: await store.getVolume('none').catch((error) => error),
      FileSystemError: await files.read('none').catch((error) => error),
      InvalidConfigError: thrownBy(() => Mount.named('../x')),
    }
    for (const classes of [first, second]) {
      class Own extends classes.VolumeError {}
      assert.ok(new Own('a message', 'OWN') instanceof Own && new Own('a message', 'OWN') instanceof classes.VolumeError)
      assert.ok(!(new Own('a message', 'OWN') instanceof classes.CatalogError))
      for (const [name, error] of Object.entries(errors)) {
        assert.ok(error instanceof classes[name] && error instanceof classes.VolumeError && error instanceof Error, name)
        assert.ok(!(error instanceof classes.CatalogError) && !(error instanceof Own), name)
      }
      for (const other of [null, undefined, 1, 'text', {}, new Error('other'), () => {}]) {
        assert.ok(!(other instanceof classes.VolumeError))
      }
    }
    const copying = files.copyOut('', home + '/copied', { signal: controller.signal, filter: abort })
    assert.equal(await copying.catch((reason) => reason), 'mine')
    await store.removeVolume('v')
  }
}`

test('index.js that is loaded twice has errors that are of the classes of both', async (t) => {
  const [home, dir] = [path.join(tempDir(t), 'home'), tempDir(t)]
  const link = path.join(dir, 'link')
  symlinkSync(root, link)
  // Where the addon is in a package of its own, the link finds it beside itself.
  const addon = path.join(dir, 'node_modules', path.basename(path.dirname(addonFile)))
  mkdirSync(path.dirname(addon))
  symlinkSync(path.dirname(addonFile), addon)
  const env = { HOME_OF_TEST: home, LINKED: path.join(link, 'index.js') }
  const clear = 'for (const file of Object.keys(require.cache)) delete require.cache[file]'
  const cleared = `const first = require(process.env.SV); ${clear}; const second = require(process.env.SV)`
  const linked = 'const [first, second] = [require(process.env.SV), require(process.env.LINKED)]'
  for (const [load, args] of [[cleared, []], [linked, ['--preserve-symlinks', '--preserve-symlinks-main']]]) {
    const source = `${checkErrors}; ${load}; check(first, second, process.env.HOME_OF_TEST)`
    assert.equal(await outputOf(source, { type: 'commonjs', env, args }), '')
  }
})
