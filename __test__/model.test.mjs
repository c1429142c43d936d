// Random calls on random trees with links of all kinds give what the model in tests/suite/volume_fs/model expects, and
// never touch the outside. `MODEL_SEED` repeats a run; each run prints its seed. `MODEL_CASES` sets how many trees are
// tried: 700 by default.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { VolumeError } from '../index.js'
import { buildModel, casesFor, prepare, replay, withoutModel } from './model-replay.mjs'
import { tempDir, tempVolume } from './support.mjs'

const DEFAULT_CASES = 700
const MAX_CASES = Number(process.env.MODEL_CASES ?? DEFAULT_CASES)
const skip = withoutModel()
const model = skip ? null : buildModel()

for (const [title, share, ...options] of [
  ['random operations on random trees do what they do in the model', 1],
  ['the same in a volume with a quota that has room for all of it', 4, { quotaMib: 64 }],
]) {
  test(title, { skip }, async (t) => {
    const { files, ...places } = await prepare(tempDir(t), ...options)
    const { seed, umask, cases } = await casesFor(model, places, Math.ceil(MAX_CASES / share))
    const before = process.umask(umask)
    t.after(() => process.umask(before))
    const ended = { value: 0, codes: 0, isPartial: 0, isOpen: 0 }
    for await (const each of cases) {
      await replay(files, VolumeError, places, each).catch((error) => {
        throw new Error(`MODEL_SEED=${seed}`, { cause: error })
      })
      for (const { expected } of each.steps) {
        ended[Object.keys(ended).findLast((name) => name in expected) ?? 'value'] += 1
      }
    }
    t.diagnostic(`MODEL_SEED=${seed}, calls by how they end: ${JSON.stringify(ended)}`)
      // Few calls are partial: in a run of all cases about ten.
    const expected = share === 1 ? ['value', 'codes', 'isPartial'] : ['value', 'codes']
    assert.ok(MAX_CASES < DEFAULT_CASES || expected.every((name) => ended[name] > 0))
  })
}

test('every method of the files is in the model', { skip }, async (t) => {
  const { files, volume } = await tempVolume(t)
  const { methods, cases } = await casesFor(model, { root: volume.path, outside: '/outside' }, 0)
  await cases.return()
  const known = Object.getOwnPropertyNames(Object.getPrototypeOf(files))
  assert.deepEqual(methods.toSorted(), known.filter((each) => each !== 'constructor').sort())
})
