// Random operations on random trees with links of all kinds give the same result as in a model, and never touch the
// outside. `MODEL_SEED` repeats a run; each run prints its seed. `MODEL_CASES` sets how many trees are tried: 1,000
// by default.
import assert from 'node:assert/strict'
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import { VolumeStore } from '../index.js'
import { Model, UMASK } from './model.mjs'
import { anyCall, anyPath, bytes, callsOf, data, make, methods, name, writesAFile } from './model-calls.mjs'
import { faultyFiles } from './model-faulty.mjs'
import { isBetween } from './model-copying.mjs'
import { directory, isDirectory } from './model-tree.mjs'
import { tempDir, tempVolume } from './support.mjs'

const numRuns = Number(process.env.MODEL_CASES ?? 1000)

const target = fc.oneof(
  { weight: 6, arbitrary: anyPath.filter((value) => value !== '') },
  {
    weight: 1,
    arbitrary: fc.constantFrom('$OUTSIDE', '$OUTSIDE/file', '../../outside', '../../outside/file', '../..', '$ROOT'),
  },
)
const planted = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(0o755, 0o700, 0o1777).map((mode) => ({ kind: 'directory', mode })) },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant('file'), mode: fc.constantFrom(0o644, 0o600, 0o755), content: data }),
  },
  { weight: 2, arbitrary: target.map((value) => ({ kind: 'link', target: value })) },
)
const tree = (maxLength) =>
  fc.array(fc.tuple(fc.array(name, { minLength: 1, maxLength: 3 }), planted), { maxLength })
const casesOf = (call) =>
  fc.record({ tree: tree(32), hostTree: tree(16), calls: fc.array(call, { minLength: 1, maxLength: 16 }) })

/** An absolute path starts in the outside directory, because no path of a test may lead to files of the host. */
function fromOutside(given, { root, outside }) {
  const isOurs = [root, outside].some((each) => given.startsWith(each))
  return given.startsWith('/') && !isOurs ? outside + given : given
}

/** Empties a directory, and creates a tree in it and in a model. */
function plant({ root, outside }, top, model, entries) {
  for (const entry of readdirSync(top, { encoding: 'buffer' })) {
    rmSync(Buffer.concat([bytes(`${top}/`), entry]), { recursive: true })
  }
  chmodSync(top, 0o755)
  for (const [names, { kind, mode, content, target: given }] of entries) {
    if (!isDirectory(model.at(names.slice(0, -1))) || model.at(names) !== undefined) {
      continue
    }
    const at = bytes([top, ...names].join('/'))
    if (kind === 'link') {
      const leads = fromOutside(given.replace('$OUTSIDE', outside).replace('$ROOT', root), { root, outside })
      symlinkSync(bytes(leads), at)
      model.put(names, { target: leads })
      continue
    }
    if (kind === 'directory') {
      mkdirSync(at)
    } else {
      writeFileSync(at, bytes(content))
    }
    chmodSync(at, mode)
    model.put(names, kind === 'directory' ? directory(mode) : { mode, content })
  }
}

/** Returns the tree on disk in the terms of the model. */
function found(at) {
  const kind = lstatSync(at)
  const mode = kind.mode & 0o7777
  if (kind.isSymbolicLink()) {
    return { target: readlinkSync(at, { encoding: 'latin1' }) }
  }
  if (kind.isFile()) {
    return { mode, content: readFileSync(at, 'latin1') }
  }
  const entries = readdirSync(at, { encoding: 'latin1' })
  return { mode, entries: new Map(entries.map((entry) => [entry, found(Buffer.concat([at, bytes(`/${entry}`)]))])) }
}

/** Returns the tree on disk, with the time of the last change of each entry. */
function seen(at) {
  const kind = lstatSync(at)
  const below = kind.isDirectory() ? readdirSync(at).map((entry) => [entry, seen(path.join(at, entry))]) : []
  return [kind.mode, kind.mtimeMs, kind.isFile() ? readFileSync(at, 'utf8') : null, below]
}

function isOneOf(call, code, codes) {
  const isNoFile = (each) => writesAFile(call) && ['EISDIR', 'ENOTDIR'].includes(each)
  return codes.includes(code) || (isNoFile(code) && codes.some(isNoFile))
}

async function check(context, files, { tree, hostTree, calls }) {
  const model = new Model()
  plant(context, context.root, model.volume, tree)
  plant(context, context.host, model.host, hostTree)
  const outside = seen(context.outside)
  for (const { at, to, ...options } of calls) {
    const [from, next] = [at, to].map((each) => each && fromOutside(each, context))
    const call = { at: from, to: next, ...options }
    const what = JSON.stringify(call)
    const before = structuredClone([model.volume.top, model.host.top])
    const expected = model.call(call)
    if (expected.codes?.includes('UNKNOWN')) {
      continue
    }
    const given = await make(files, context.host, call).then(
      (value) => ({ value }),
      ({ code }) => ({ code }),
    )
    assert.ok(existsSync(context.root), `the root after ${what}`)
    const now = [found(bytes(context.root)), found(bytes(context.host))]
    assert.deepEqual(seen(context.outside), outside, `the outside after ${what}`)
    if (expected.codes) {
      assert.ok(isOneOf(call, given.code, expected.codes), `${what}: ${given.code}, not ${expected.codes}`)
    } else if (!expected.isOpen) {
      assert.deepEqual(given, expected, what)
    }
    const after = [model.volume.top, model.host.top]
    if (expected.isHalfway) {
      const between = now.every((each, at) => isBetween(each, before[at], after[at], isDeepStrictEqual))
      assert.ok(between, `what is left of ${what}`)
    }
    if (expected.isHalfway || expected.isOpen) {
      ;[model.volume.top, model.host.top] = now
    } else {
      assert.deepEqual(now, after, `the volume and the host after ${what}`)
    }
  }
}

/** More directories than paths and links are likely to climb at once, if they get out. */
const BELOW = 'b/e/l/o/w/a/l/l'

function masked(t) {
  const before = process.umask(UMASK)
  t.after(() => process.umask(before))
}

async function prepared(t, ...options) {
  const store = await VolumeStore.open({ home: path.join(tempDir(t), BELOW, 'home'), durability: 'fast' })
  const volume = await store.createVolume('v', ...options)
  const [files, root] = [volume.fs(), volume.path]
  const [outside, host] = ['outside', 'host'].map((each) => path.join(store.home, each))
  mkdirSync(host)
  mkdirSync(outside)
  writeFileSync(path.join(outside, 'file'), 'outside')
  mkdirSync(path.join(outside, 'a'))
  return { files, context: { root, outside, host } }
}

for (const [title, share, ...options] of [
  ['random operations on random trees do what they do in the model', 1],
  ['the same in a volume with a quota that has room for all of it', 4, { quotaMib: 64 }],
]) {
  test(title, async (t) => {
    masked(t)
    const { files, context } = await prepared(t, ...options)
    const seed = Number(process.env.MODEL_SEED ?? Math.floor(Math.random() * 2 ** 31))
    const runs = Math.ceil(numRuns / share)
    t.diagnostic(`${runs} cases, MODEL_SEED=${seed}`)
    await fc.assert(
      fc.asyncProperty(casesOf(anyCall), (each) => check(context, files, each)),
      { numRuns: runs, seed },
    )
  })
}

test('every method of the files is in the model', async (t) => {
  const { files } = await tempVolume(t)
  const known = Object.getOwnPropertyNames(Object.getPrototypeOf(files))
  assert.deepEqual(methods.toSorted(), known.filter((each) => each !== 'constructor').sort())
})

test('the model catches each faulty operation', async (t) => {
  masked(t)
  for (const method of methods) {
    const { context } = await prepared(t)
    const faulty = faultyFiles(context)
    const { failed, errorInstance } = await fc.check(
      fc.asyncProperty(casesOf(callsOf(method)), (each) => check(context, faulty, each)),
      { numRuns: 1000, endOnFailure: true },
    )
    assert.ok(failed, method)
    assert.ok(errorInstance instanceof assert.AssertionError, `${method}: ${errorInstance?.stack}`)
    t.diagnostic(`${method}: ${errorInstance.message.split('\n')[0].slice(0, 200)}`)
  }
})

test('a faulty operation that would leave the home is not run', async (t) => {
  const { context } = await prepared(t)
  const { root, outside } = context
  const home = path.dirname(outside)
  for (const [at, target] of [
    ['a', 'b'],
    ['b', `${home}/../a`],
    ['c', 'd/x'],
    ['d', '../../..'],
    ['e', `${home}-beside`],
    ['f', 'f/x'],
    ['g', '../../outside/file'],
    ['h', '../../outside/missing'],
  ]) {
    symlinkSync(target, path.join(root, at))
  }
  const faulty = faultyFiles(context)
  for (const at of ['a', 'b', 'c', 'd', 'd/x', 'd/home/outside/file/../../../x', 'e', '../../../x', '../..', 'a/x']) {
    await assert.rejects(faulty.write(bytes(at), bytes('x'), {}), { code: 'LEFT' }, at)
    await assert.rejects(faulty.removeAll(bytes(at)), { code: 'LEFT' }, at)
  }
  await assert.rejects(faulty.write(bytes('f'), bytes('x'), {}), { code: 'ELOOP' })
  await faulty.write(bytes('g'), bytes('x'), {})
  await faulty.write(bytes('h'), bytes('x'), {})
  assert.deepEqual(readdirSync(path.dirname(home)), ['home'])
  assert.deepEqual(readdirSync(outside).sort(), ['a', 'file', 'missing'])
})
