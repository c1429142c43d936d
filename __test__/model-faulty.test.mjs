// The model catches each deliberately faulty method. They run in a process of their own that can write to its temporary
// directory only.
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import { VolumeError } from '../index.js'
import { faultyFiles, mistakes } from './model-faulty.mjs'
import { buildModel, bytes, casesFor, prepare, replay, withoutModel } from './model-replay.mjs'
import { assertReadOnly, ONLY_WRITABLE, onlyWriting, PROTECTED, withoutReadOnly } from './read-only.mjs'
import { runNode, tempDir } from './support.mjs'

/** Set in that process: the program that makes cases. */
const model = process.env.MODEL_FOR_FAULTY_METHODS

/** How many cases of a method are tried. */
const MAX_CASES = 1000

if (model === undefined) {
  test('the model catches what is faulty, where one directory can be written', { skip: withoutReadOnly || withoutModel() }, async (t) => {
    const dir = tempDir(t)
    const { code, stdout, stderr } = await runNode(`import ${JSON.stringify(import.meta.url)}`, {
      by: onlyWriting(dir),
      env: { TMPDIR: dir, [ONLY_WRITABLE]: dir, MODEL_FOR_FAULTY_METHODS: buildModel() },
    })
    assert.equal(code, 0, stdout + stderr)
    for (const line of stdout.split('\n').filter((each) => /caught|^# pass/.test(each))) t.diagnostic(line)
  })

  test('faulty methods are not made where anything else can be written', () => {
    const places = { root: '/missing/v', outside: '/missing/outside' }
    assert.throws(() => faultyFiles(places), /in a read-only namespace only/)
  })
} else {
  test('only the directory of the test can be written', () => {
    assertReadOnly()
    const written = path.join(tmpdir(), 'written')
    writeFileSync(written, 'x')
    assert.ok(PROTECTED.length >= 5)
    for (const directory of PROTECTED) {
      const file = path.join(directory, 'written-by-a-faulty-method')
      for (const attempt of [() => writeFileSync(file, 'x'), () => mkdirSync(file), () => symlinkSync('x', file)]) {
        assert.throws(attempt, { code: 'EROFS' }, file)
      }
    }
    assert.throws(() => writeFileSync('/proc/self/comm', 'x'), { code: 'EROFS' })
    assert.ok(existsSync(written))
  })

  test('the model catches each faulty method', async (t) => {
    const { methods } = await casesFor(model, { root: '/missing', outside: '/missing' }, 0)
    assert.ok(methods.length > 10)
    for (const method of methods) {
      // A faulty method may remove the volume.
      const places = await prepare(mkdtempSync(path.join(tmpdir(), 'model-')))
      const faulty = faultyFiles(places)
      const { umask, seed, cases } = await casesFor(model, places, MAX_CASES, [method])
      process.umask(umask)
      const problem = await firstProblem(faulty, Error, places, cases)
      assert.ok(problem instanceof assert.AssertionError, `${method}, MODEL_SEED=${seed}: ${problem?.stack}`)
      t.diagnostic(`caught ${method}: ${problem.message.split('\n')[0].slice(0, 200)}`)
    }
  })

  test('the cases catch each mistake of a binding', async (t) => {
    const { files, ...places } = await prepare(mkdtempSync(path.join(tmpdir(), 'model-')))
    for (const [mistake, method, made] of mistakes) {
      const { umask, seed, cases } = await casesFor(model, places, MAX_CASES, [method])
      process.umask(umask)
      const problem = await firstProblem(made(files), VolumeError, places, cases)
      assert.ok(problem instanceof assert.AssertionError, `${method} ${mistake}, MODEL_SEED=${seed}: ${problem?.stack}`)
      t.diagnostic(`caught: ${method} ${mistake}: ${problem.message.split('\n')[0].slice(0, 200)}`)
    }
  })

  test('a faulty method that would leave the home is not run', async () => {
    const { root, outside } = await prepare(mkdtempSync(path.join(tmpdir(), 'leaving-')))
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
    const faulty = faultyFiles({ root, outside })
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
}

/** Replays cases until one fails. Returns how it failed. */
async function firstProblem(faulty, errorClass, places, cases) {
  for await (const each of cases) {
    try {
      await replay(faulty, errorClass, places, each)
    } catch (error) {
      return error
    }
  }
  return undefined
}
