// Random operations on random trees with links of all kinds do what they do in a model of them, and never touch what
// is outside. `MODEL_SEED` repeats a run, and each prints its own; `MODEL_CASES` says how many trees are tried,
// 2,000 by default.
import assert from 'node:assert/strict'
import {
  existsSync,
  lstatSync,
  mkdirSync,
  promises as byName,
  readFileSync,
  readdirSync,
  readlinkSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import fc from 'fast-check'
import { Model, isDirectory } from './model.mjs'
import { tempVolume } from './support.mjs'

const numRuns = Number(process.env.MODEL_CASES ?? 2000)
const WRITTEN = 'new'

/** Names are one character a byte, so that they may be no UTF-8. */
const bytes = (text) => Buffer.from(text, 'latin1')

/** The methods by name; one line each. */
const methods = {
  read: async (files, at) => (await files.read(at)).toString(),
  readString: (files, at) => files.readString(at),
  write: (files, at) => files.write(at, WRITTEN),
  writeString: (files, at) => files.writeString(at, WRITTEN),
  writeAtomic: (files, at) => files.write(at, WRITTEN, { atomic: true }),
  mkdir: (files, at) => files.mkdir(at),
  remove: (files, at) => files.remove(at),
  removeAll: (files, at) => files.removeAll(at),
  exists: (files, at) => files.exists(at),
}

const name = fc.constantFrom('a', 'b', 'c', 'd\xff')
const text = fc
  .tuple(
    fc.oneof({ weight: 19, arbitrary: fc.constant('') }, { weight: 1, arbitrary: fc.constant('/') }),
    fc.array(
      fc.oneof({ weight: 4, arbitrary: name }, { weight: 1, arbitrary: fc.constantFrom('..', '.', '') }),
      { minLength: 1, maxLength: 4 },
    ),
    fc.oneof({ weight: 9, arbitrary: fc.constant('') }, { weight: 1, arbitrary: fc.constant('/') }),
  )
  .map(([start, names, end]) => start + names.join('/') + end)
const target = fc.oneof(
  { weight: 6, arbitrary: text.filter((value) => value !== '') },
  {
    weight: 1,
    arbitrary: fc.constantFrom('$OUTSIDE', '$OUTSIDE/file', '../../outside', '../../outside/file', '../..', '$ROOT'),
  },
)
const planted = fc.oneof(
  { weight: 3, arbitrary: fc.constant({ kind: 'directory' }) },
  { weight: 2, arbitrary: fc.constant({ kind: 'file' }) },
  { weight: 3, arbitrary: target.map((value) => ({ kind: 'link', target: value })) },
)
const cases = fc.record({
  tree: fc.array(fc.tuple(fc.array(name, { minLength: 1, maxLength: 3 }), planted), { maxLength: 24 }),
  calls: fc.array(fc.tuple(fc.constantFrom(...Object.keys(methods)), text), { minLength: 1, maxLength: 16 }),
})

/** Empties the volume and plants a tree in it and in a model. */
function plant({ root, outside }, tree) {
  for (const entry of readdirSync(root, { encoding: 'buffer' })) {
    rmSync(Buffer.concat([bytes(`${root}/`), entry]), { recursive: true })
  }
  const model = new Model()
  for (const [names, { kind, target: given }] of tree) {
    if (!isDirectory(model.at(names.slice(0, -1))) || model.at(names) !== undefined) {
      continue
    }
    const at = bytes([root, ...names].join('/'))
    if (kind === 'directory') {
      mkdirSync(at)
      model.put(names, new Map())
    } else if (kind === 'file') {
      writeFileSync(at, 'old')
      model.put(names, 'old')
    } else {
      const leads = given.replace('$OUTSIDE', outside).replace('$ROOT', root)
      symlinkSync(bytes(leads), at)
      model.put(names, { target: leads })
    }
  }
  return model
}

/** What is on disk, in the model's terms. */
function found(at) {
  const kind = lstatSync(at)
  if (kind.isSymbolicLink()) {
    return { target: readlinkSync(at, { encoding: 'latin1' }) }
  }
  if (kind.isFile()) {
    return readFileSync(at, 'latin1')
  }
  const entries = readdirSync(at, { encoding: 'latin1' })
  return new Map(entries.map((entry) => [entry, found(Buffer.concat([at, bytes(`/${entry}`)]))]))
}

/** The same, with when each was changed. */
function seen(at) {
  const kind = lstatSync(at)
  const below = kind.isDirectory() ? readdirSync(at).map((entry) => [entry, seen(path.join(at, entry))]) : []
  return [kind.mode, kind.mtimeMs, kind.isFile() ? readFileSync(at, 'utf8') : null, below]
}

/** A path that ends in a slash is no file to write to, which either of two errors may say. */
const oneCode = (method, { code, ...rest }) =>
  method.startsWith('write') && ['EISDIR', 'ENOTDIR'].includes(code) ? 'no file' : { code, ...rest }

async function check(context, files, { tree, calls }) {
  const model = plant(context, tree)
  const outside = seen(context.outside)
  for (const [method, at] of calls) {
    const what = `${method}(${JSON.stringify(at)})`
    const expected = model.call(method, at, WRITTEN)
    const given = await methods[method](files, bytes(at)).then(
      (value) => ({ value }),
      ({ code }) => ({ code }),
    )
    assert.deepEqual(oneCode(method, given), oneCode(method, expected), what)
    assert.deepEqual(found(bytes(context.root)), model.root, `the volume after ${what}`)
    assert.deepEqual(seen(context.outside), outside, `the outside after ${what}`)
  }
}

async function prepared(t) {
  const { store, files, root } = await tempVolume(t)
  const outside = path.join(store.home, 'outside')
  mkdirSync(outside)
  writeFileSync(path.join(outside, 'file'), 'outside')
  mkdirSync(path.join(outside, 'a'))
  return { files, context: { root, outside } }
}

test('random operations on random trees do what they do in the model', async (t) => {
  const { files, context } = await prepared(t)
  const seed = Number(process.env.MODEL_SEED ?? Math.floor(Math.random() * 2 ** 31))
  t.diagnostic(`${numRuns} cases, MODEL_SEED=${seed}`)
  await fc.assert(
    fc.asyncProperty(cases, (each) => check(context, files, each)),
    { numRuns, seed },
  )
})

/** How it is done without care: joined, and opened by name. What would leave the home is left alone, which counts. */
function naive({ root, outside }) {
  const home = path.dirname(outside)
  const join = (at) => {
    const joined = Buffer.concat([bytes(`${root}/`), at])
    const parent = joined.subarray(0, joined.lastIndexOf('/'))
    for (const place of [parent, joined].filter((each) => existsSync(each))) {
      if (!realpathSync(place, { encoding: 'latin1' }).startsWith(home)) {
        throw Object.assign(new Error('it would leave the home'), { code: 'LEFT' })
      }
    }
    return joined
  }
  return {
    read: async (at) => byName.readFile(join(at)),
    readString: async (at) => byName.readFile(join(at), 'utf8'),
    write: async (at, content) => byName.writeFile(join(at), content),
    writeString: async (at, content) => byName.writeFile(join(at), content),
    exists: async (at) => existsSync(join(at)),
  }
}

test('naive operations are told from the model', async (t) => {
  const { context } = await prepared(t)
  for (const method of Object.keys(naive(context))) {
    const calls = fc.array(fc.tuple(fc.constant(method), text), { minLength: 1, maxLength: 16 })
    const of = fc.tuple(cases, calls).map(([each, only]) => ({ ...each, calls: only }))
    const result = await fc.check(
      fc.asyncProperty(of, (each) => check(context, naive(context), each)),
      { numRuns: 1000, endOnFailure: true },
    )
    assert.ok(result.failed, method)
  }
})
