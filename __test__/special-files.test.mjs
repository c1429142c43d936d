// FIFOs, sockets and devices in a volume: refused at once, however many are tried.
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { performance } from 'node:perf_hooks'
import { test } from 'node:test'
import { FileSystemError } from '../index.js'
import { rejects, tempVolume } from './support.mjs'

/** The methods that do I/O on a regular file; one line each. */
const methods = {
  read: (files, relPath) => files.read(relPath),
  readString: (files, relPath) => files.readString(relPath),
  write: (files, relPath) => files.write(relPath, 'x'),
  writeAtomic: (files, relPath) => files.write(relPath, 'x', { atomic: true }),
}

/** How long it takes, in milliseconds, until `promise` is settled. */
async function timeOf(promise) {
  const start = performance.now()
  await promise.catch(() => {})
  return performance.now() - start
}

/** The shortest of several times: what hangs is never quick, and a busy machine is quick once. */
async function shortestTimeOf(call) {
  const times = []
  for (let round = 0; round < 5; round += 1) {
    times.push(await timeOf(call()))
  }
  return Math.min(...times)
}

test('case 10: a FIFO is refused by its name at once', async (t) => {
  const { files, root } = await tempVolume(t)
  execFileSync('mkfifo', [path.join(root, 'fifo')])
  for (const [method, call] of Object.entries(methods)) {
    const expected = { code: 'ENOTSUP', path: 'fifo', message: /not a regular file/ }
    await rejects(call(files, 'fifo'), FileSystemError, expected)
    const took = await shortestTimeOf(() => call(files, 'fifo'))
    // What is owed is 50 ms, which a busy machine may take longer for: only what waits for another end is told here.
    assert.ok(took < 2000, `${method} took ${took} ms`)
  }
  assert.equal(await files.exists('fifo'), true)
  await files.remove('fifo')
  assert.equal(await files.exists('fifo'), false)
})

test('case 11: 600 reads of FIFOs do not hold up a normal one', async (t) => {
  const { files, root } = await tempVolume(t)
  const fifos = Array.from({ length: 8 }, (_, number) => `fifo-${number}`)
  execFileSync(
    'mkfifo',
    fifos.map((name) => path.join(root, name)),
  )
  writeFileSync(path.join(root, 'normal'), 'content')
  const round = async () => {
    const reads = Array.from({ length: 600 }, (_, number) => files.read(fifos[number % fifos.length]))
    const refusals = reads.map((read) => rejects(read, FileSystemError, { code: 'ENOTSUP' }))
    const took = await timeOf(files.readString('normal').then((text) => assert.equal(text, 'content')))
    await Promise.all(refusals)
    return took
  }
  const times = []
  for (let number = 0; number < 5; number += 1) {
    times.push(await round())
  }
  t.diagnostic(`the normal read took ${times.map((time) => time.toFixed(1)).join(', ')} ms`)
  // What is owed is 100 ms; a busy machine may take longer, and who waits for FIFOs would wait for ever.
  assert.ok(Math.min(...times) < 2000, `${times} ms`)
})

test('case 11: the same reads by name leave a normal one none', async (t) => {
  const { root } = await tempVolume(t)
  execFileSync('mkfifo', [path.join(root, 'fifo')])
  writeFileSync(path.join(root, 'normal'), 'content')
  // In a process of its own, for it hangs until it is killed.
  const source = `
    const { promises } = require('node:fs')
    const root = process.argv[1]
    for (let number = 0; number < 600; number += 1) promises.readFile(root + '/fifo').catch(() => {})
    promises.readFile(root + '/normal').then(() => require('node:fs').writeSync(1, 'read'))`
  const { stdout, signal } = spawnSync(process.execPath, ['-e', source, root], {
    timeout: 3000,
    killSignal: 'SIGKILL',
  })
  assert.deepEqual([stdout.toString(), signal], ['', 'SIGKILL'])
})
