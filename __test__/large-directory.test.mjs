// Case 14: a directory of many entries, as it is listed.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import native from '../lib/native.js'
import { fill, volumeInMemory } from './entries-support.mjs'
import { countTurns } from './support.mjs'

/** The most entries that are created in one turn of the event loop. */
const MAX_PER_TURN = 2048

/**
 * Returns the CPU time so far of the main thread and the threads of the addon, in milliseconds. Not of the threads
 * of V8: on a busy machine they mostly wait for each other, and use CPU time for the wait.
 */
function computed() {
  const isCounted = (thread) =>
    Number(thread) === process.pid || readFileSync(`/proc/self/task/${thread}/comm`, 'utf8').startsWith('volumes-')
  const threads = readdirSync('/proc/self/task').filter(isCounted)
  const timeOf = (thread) => Number(readFileSync(`/proc/self/task/${thread}/schedstat`, 'utf8').split(' ')[0])
  return threads.reduce((sum, thread) => sum + timeOf(thread), 0) / 1e6
}

/** Runs `operation`. Returns its result and its CPU time in milliseconds. */
async function measured(operation) {
  const before = computed()
  const result = await operation()
  return { result, work: computed() - before }
}

/** Records in which turn of the event loop the entries of each batch are created, and how many. */
function spyOnBatches(t) {
  const [turns, batches, { next }] = [countTurns(t), [], native.NativeListing.prototype]
  native.NativeListing.prototype.next = async function (...args) {
    const batch = await next.apply(this, args)
    const { runs, text } = batch
    const note = () => {
      batches.push({ turn: turns.turn, entries: runs.reduce((sum, count) => sum + count, 0) })
      return text
    }
    return Object.defineProperty(batch, 'text', { get: note })
  }
  t.after(() => (native.NativeListing.prototype.next = next))
  return batches
}

/**
 * Returns the CPU time, in milliseconds, to read all that a listing shows, which means an fstatat for each entry.
 */
function workOfFind(dir) {
  const script = 'find "$0" -printf "%f %m %s %T@\\n" > /dev/null; times'
  const [, user, system] = execFileSync('bash', ['-c', script, dir], { encoding: 'utf8' }).match(
    /\n0m([\d.]+)s 0m([\d.]+)s/,
  )
  return (Number(user) + Number(system)) * 1000
}

test('a directory of 200,000 entries', async (t) => {
  const { files, root } = await volumeInMemory(t)
  const count = 200_000
  fill(path.join(root, 'dir'), count)

  await t.test('case 14: 200,000 entries stall nothing, for in each turn a few are made', async (t) => {
    const batches = spyOnBatches(t)
    const iterate = async () => {
      let entries = 0
      for await (const _entry of files.list('dir')) entries += 1
      return entries
    }
    for (const list of [async () => (await files.list('dir')).length, iterate]) {
      assert.equal(await list(), count)
      const made = batches.splice(0)
      assert.equal(made.reduce((sum, { entries }) => sum + entries, 0), count)
      assert.ok(made.every(({ entries }) => entries <= MAX_PER_TURN))
      assert.equal(new Set(made.map(({ turn }) => turn)).size, made.length, 'two batches in one turn')
    }
  })

  await t.test('case 14: 200,000 entries are at most twice the work of readdir and fstatat', async (t) => {
    // Other load on the machine costs both of them more at times, so the minimum of several rounds counts.
    const least = { list: Infinity, find: Infinity }
    for (let round = 0; round < 3 || (round < 20 && least.list >= 2 * least.find); round += 1) {
      least.find = Math.min(least.find, workOfFind(path.join(root, 'dir')))
      const { result, work } = await measured(async () => (await files.list('dir')).length)
      assert.equal(result, count)
      least.list = Math.min(least.list, work)
    }
    t.diagnostic(JSON.stringify(least))
    assert.ok(least.list < 2 * least.find, `${least.list} ms, and find ${least.find} ms`)
  })
})
