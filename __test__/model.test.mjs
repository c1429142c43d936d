// Random operations on random trees with links of all kinds do what they do in a model of them, and never touch what
// is outside. `MODEL_SEED` repeats a run, and each prints its own; `MODEL_CASES` says how many trees are tried,
// 1,000 by default.
import assert from 'node:assert/strict'
import {
  chmodSync,
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
import { Model, UMASK } from './model.mjs'
import { anyCall, anyPath, bytes, callsOf, careless, data, make, methods, name, writesAFile } from './model-calls.mjs'
import { isBetween } from './model-copying.mjs'
import { directory, isDirectory } from './model-tree.mjs'
import { tempVolume } from './support.mjs'

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

/** Empties a directory and plants a tree in it and in a model. */
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
      const leads = given.replace('$OUTSIDE', outside).replace('$ROOT', root)
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

/** What is on disk, in the model's terms. */
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

/** The same, with when each was changed. */
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
  for (const call of calls) {
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

async function prepared(t, ...options) {
  const before = process.umask(UMASK)
  t.after(() => process.umask(before))
  const { store, files, root } = await tempVolume(t, ...options)
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

test('naive operations are told from the model', async (t) => {
  const { context } = await prepared(t)
  const naive = careless(context)
  for (const method of Object.keys(naive)) {
    const result = await fc.check(
      fc.asyncProperty(casesOf(callsOf(method)), (each) => check(context, naive, each)),
      { numRuns: 1000, endOnFailure: true },
    )
    assert.ok(result.failed, method)
  }
})
