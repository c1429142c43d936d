// `tests/cases/paths.json` and `names.json` are shared with the Rust suite; the top of `tests/suite/volume_fs/paths/mod.rs` says what
// their fields mean.
import assert from 'node:assert/strict'
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { buffer } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import { test } from 'node:test'
import { InvalidConfigError, Mount, VolumeError, VolumeNotFoundError } from '../index.js'
import { rejects, root as repository, tempStore, tempVolume, throws } from './support.mjs'

const read = (name) => JSON.parse(readFileSync(path.join(repository, 'tests/cases', name), 'utf8'))
const table = read('paths.json')
const UP = '../../outside'

/** Creates a volume with the fixture in it, and the outside directory beside it. */
async function prepared(t) {
  const { store, files, root } = await tempVolume(t)
  const outside = path.join(store.home, 'outside')
  mkdirSync(outside)
  const context = { store, files, root, outside }
  fill(context)
  return context
}

function expanded(text, { root, outside }) {
  return text.replaceAll('$OUTSIDE', outside).replaceAll('$UP', UP).replaceAll('$ROOT', root)
}

function fill(context) {
  for (const [place, base] of [
    ['outside', context.outside],
    ['volume', context.root],
  ]) {
    const { dirs, files, links = {} } = table.fixture[place]
    for (const dir of dirs) {
      mkdirSync(path.join(base, dir), { recursive: true })
    }
    for (const [name, content] of Object.entries(files)) {
      writeFileSync(path.join(base, name), content.hex ? Buffer.from(content.hex, 'hex') : content)
    }
    for (const [name, target] of Object.entries(links)) {
      symlinkSync(expanded(target, context), path.join(base, name))
    }
  }
}

/** Restores the volume after a call that changed it. */
function refill(context) {
  for (const base of [context.outside, context.root]) {
    for (const entry of readdirSync(base)) {
      rmSync(path.join(base, entry), { recursive: true })
    }
  }
  fill(context)
}

/** Returns all that is visible of a tree: names, modes, contents, and the times when its directories changed. */
function seen(base, relPath = '', found = {}) {
  const at = path.join(base, relPath)
  const { mode, mtimeNs } = lstatSync(at, { bigint: true })
  const kind = lstatSync(at)
  const content = kind.isSymbolicLink() ? readlinkSync(at) : kind.isFile() ? readFileSync(at, 'latin1') : null
  found[relPath] = `${mode} ${mtimeNs} ${content}`
  for (const entry of kind.isDirectory() ? readdirSync(at).sort() : []) {
    seen(base, path.join(relPath, entry), found)
  }
  return found
}

function foundAt(at) {
  const kind = lstatSync(at, { throwIfNoEntry: false })
  if (kind === undefined) {
    return null
  }
  if (kind.isSymbolicLink()) {
    return { link: readlinkSync(at) }
  }
  return kind.isDirectory() ? { dir: true } : readFileSync(at, 'utf8')
}

/** Runs a call with a directory of the host, far from all that the test compares. */
async function onHost(call) {
  const dir = mkdtempSync(path.join(tmpdir(), 'sandbox-volumes-'))
  try {
    return await call(dir)
  } finally {
    rmSync(dir, { recursive: true })
  }
}

const methods = {
  read: async (files, relPath) => (await files.read(relPath)).toString(),
  readString: (files, relPath) => files.readString(relPath),
  readStream: async (files, relPath) => (await buffer(files.readStream(relPath))).toString(),
  write: (files, relPath) => files.write(relPath, Buffer.from('new')),
  writeString: (files, relPath) => files.writeString(relPath, 'new'),
  writeAtomic: (files, relPath) => files.write(relPath, 'new', { atomic: true }),
  append: (files, relPath) => files.append(relPath, 'new'),
  copyFrom: (files, relPath) => files.copy(relPath, 'copied'),
  copyTo: (files, relPath) => files.copy('f', relPath),
  copyIn: (files, relPath) => onHost((dir) => {
    writeFileSync(path.join(dir, 'seed'), 'file')
    return files.copyIn(path.join(dir, 'seed'), relPath).then(() => {})
  }),
  copyOut: (files, relPath) =>
    onHost((dir) => files.copyOut(relPath, path.join(dir, 'out')).then(() => {})),
  writeStream: (files, relPath) => pipeline(['n', 'ew'], files.writeStream(relPath)),
  writeStreamAtomic: (files, relPath) =>
    pipeline(['n', 'ew'], files.writeStream(relPath, { atomic: true })),
  mkdir: (files, relPath) => files.mkdir(relPath),
  remove: (files, relPath) => files.remove(relPath),
  removeAll: (files, relPath) => files.removeAll(relPath),
  exists: (files, relPath) => files.exists(relPath),
  list: async (files, relPath) => (await files.list(relPath)).map(({ path }) => path),
  listAll: async (files, relPath) => (await files.list(relPath, { recursive: true })).map(({ path }) => path),
  stat: async (files, relPath) => (await files.stat(relPath)).kind,
  statLink: async (files, relPath) => (await files.stat(relPath, { followSymlinks: false })).kind,
  renameFrom: (files, relPath) => files.rename(relPath, 'renamed'),
  renameTo: (files, relPath) => files.rename('f', relPath),
}

/** The method of the files for an operation with another name. */
const variants = {
  writeAtomic: 'write',
  writeStreamAtomic: 'writeStream',
  copyFrom: 'copy',
  copyTo: 'copy',
  listAll: 'list',
  statLink: 'stat',
  renameFrom: 'rename',
  renameTo: 'rename',
}

function pathOf(entry, context) {
  if (typeof entry === 'string') {
    return expanded(entry, context)
  }
  const { prefix = '', repeat, suffix = '' } = entry
  return prefix + repeat[0].repeat(repeat[1]) + suffix
}

function checkOutcome(what, relPath, { expect: expected, anyPath }, outcome) {
  if ('ok' in expected) {
    assert.ok(!('error' in outcome), `${what}: ${outcome.error?.stack}`)
    assert.deepEqual(outcome.value ?? null, expected.ok, what)
  } else {
    assert.ok('error' in outcome, `${what}: expected ${expected.error}, but it resolved`)
    const { error } = outcome
    assert.ok(error instanceof VolumeError, `${what}: ${error.stack}`)
    assert.ok(
      [expected.error].flat().includes(error.code),
      `${what}: expected ${expected.error}, got ${error.stack}`,
    )
    if (!anyPath) {
      assert.ok([error.path, error.dest].includes(relPath), `${what}: the path of ${error.stack}`)
    }
  }
}

async function checkCall(context, entry, method, relPath) {
  const { name, then = {} } = entry
  const what = `${name}: ${method}(${JSON.stringify(relPath)})`
  const [inside, outside] = [seen(context.root), seen(context.outside)]
  const outcome = await methods[method](context.files, relPath).then(
    (value) => ({ value }),
    (error) => ({ error }),
  )
  assert.deepEqual(seen(context.outside), outside, `${what}: the outside changed`)
  checkOutcome(what, relPath, entry, outcome)
  for (const [at, expected] of Object.entries(then)) {
    const place = path.join(context.root, at.replaceAll('$PATH', relPath.replace(/\/+$/, '')))
    assert.deepEqual(foundAt(place), expected, `${what}: at ${at}`)
  }
  const mayChange = Object.keys(then).length > 0
  if (mayChange) {
    assert.notDeepEqual(seen(context.root), inside, `${what}: the volume did not change`)
    refill(context)
  } else {
    assert.deepEqual(seen(context.root), inside, `${what}: the volume changed`)
  }
}

for (const entry of table.cases) {
  const number = entry.case ? `case ${entry.case}: ` : ''
  test(`${number}${entry.name}`, async (t) => {
    const context = await prepared(t)
    const called = Array.isArray(entry.methods) ? entry.methods : table.methods[entry.methods]
    assert.ok(called.length * entry.paths.length > 0)
    for (const relPath of entry.paths) {
      for (const method of called) {
        await checkCall(context, entry, method, pathOf(relPath, context))
      }
    }
  })
}

test('every method of the files is in the table', async (t) => {
  const { files } = await tempVolume(t)
  const known = Object.getOwnPropertyNames(Object.getPrototypeOf(files)).filter(
    (name) => name !== 'constructor',
  )
  const called = new Set(Object.keys(methods).map((name) => variants[name] ?? name))
  assert.deepEqual([...called].sort(), known.sort())
  assert.deepEqual(table.methods.all.toSorted(), Object.keys(methods).sort())
})

/** Calls a method with the path of a file or directory that is longer than `PATH_MAX`. */
async function checkLong(t, method) {
  const { files, root } = await tempVolume(t)
  const dir = Array(40).fill('d'.repeat(200)).join('/')
  const file = `${dir}/f`
  await files.mkdir(dir)
  await files.writeString(file, 'far')
  await files.writeString('f', 'file')
  const relPath = { list: dir, listAll: dir, mkdir: `${dir}/made` }[method] ?? file
  const given = await methods[method](files, relPath)
  const expected = {
    read: 'far',
    readString: 'far',
    readStream: 'far',
    exists: true,
    list: [file],
    listAll: [file],
    stat: 'file',
    statLink: 'file',
  }
  assert.deepEqual(given, expected[method], method)
  const content = await files.readString(file).catch(({ code }) => code)
  const leaves = {
    append: 'farnew',
    copyTo: 'file',
    copyIn: 'file',
    renameTo: 'file',
    remove: 'ENOENT',
    removeAll: 'ENOENT',
    renameFrom: 'ENOENT',
  }
  assert.equal(content, leaves[method] ?? (method.startsWith('write') ? 'new' : 'far'), method)
  const goes = { copyFrom: 'copied', renameFrom: 'renamed' }[method]
  if (goes) {
    assert.equal(readFileSync(path.join(root, goes), 'utf8'), 'far', method)
  }
  assert.equal(await files.exists(`${dir}/made`), method === 'mkdir', method)
  await files.removeAll('d'.repeat(200))
}

test('case 4: a path longer than PATH_MAX works for every method', async (t) => {
  for (const method of table.methods.all) {
    await checkLong(t, method)
  }
})

test('case 20: files of a removed volume are not found, and no method brings it back', async (t) => {
  const { store, volume, files, root } = await tempVolume(t)
  await volume.remove()
  for (const [method, call] of Object.entries(methods)) {
    for (const relPath of ['f', '', 'a/b']) {
      await rejects(call(files, relPath), VolumeNotFoundError, { volume: 'v' }, method)
    }
  }
  assert.ok(!existsSync(root))
  const later = await store.createVolume('v', { quotaMib: 1 })
  for (const [method, call] of Object.entries(methods)) {
    await rejects(call(files, 'f'), VolumeNotFoundError, { volume: 'v' }, method)
  }
  assert.deepEqual(await later.fs().list(''), [])
  await later.fs().writeString('f', 'of the new one')
  await rejects(files.readString('f'), VolumeNotFoundError, { volume: 'v' })
  await rejects(later.fs().write('f', Buffer.alloc(2 << 20)), VolumeError, { code: 'ERR_QUOTA_EXCEEDED' })
})

test('case 21: a root that was replaced by a link is an error', async (t) => {
  const context = await prepared(t)
  renameSync(context.root, `${context.root}-moved`)
  symlinkSync(context.outside, context.root)
  const before = seen(context.outside)
  for (const call of Object.values(methods)) {
    const error = await rejects(call(context.files, 'secret.txt'), VolumeError)
    assert.ok(['ENOTDIR', 'ELOOP'].includes(error.code), error.stack)
  }
  assert.deepEqual(seen(context.outside), before)
})

const names = read('names.json')
const nameOf = (text) => text.replace(/\{(.)\*(\d+)\}/, (_, letter, count) => letter.repeat(Number(count)))

test('case 43: names that are none are refused at once, and nothing is left behind', async (t) => {
  const store = await tempStore(t)
  const before = Object.keys(seen(path.join(store.home, 'volumes')))
  for (const name of names.invalid.map(nameOf)) {
    const what = { field: 'name', code: 'ERR_INVALID_CONFIG' }
    for (const call of [
      () => store.createVolume(name),
      () => store.getVolume(name),
      () => store.removeVolume(name),
      () => store.attach('s', { '/data': { kind: 'named', named: name } }),
    ]) {
      const { message } = await rejects(call(), InvalidConfigError, what)
      assert.ok(message.length < 1000, `a message of ${message.length} characters`)
    }
    throws(() => Mount.named(name), InvalidConfigError, what)
  }
  assert.deepEqual(Object.keys(seen(path.join(store.home, 'volumes'))), before)
})

test('case 43: names that are some each make a volume of that name', async (t) => {
  const store = await tempStore(t)
  const valid = names.valid.map(nameOf)
  for (const name of valid) {
    assert.equal((await store.createVolume(name)).name, name)
    assert.equal(Mount.named(name).named, name)
    await (await store.getVolume(name)).fs().writeString('who', name)
  }
  assert.deepEqual((await store.listVolumes()).map(({ name }) => name).sort(), valid.toSorted())
  for (const name of valid) {
    assert.equal(readFileSync(path.join(store.home, 'volumes', name, 'who'), 'utf8'), name)
    await store.removeVolume(name)
  }
})
