// FIFOs, sockets and devices in a volume: refused at once, in any number.
import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { constants, existsSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import path from 'node:path'
import { test } from 'node:test'
import { FileSystemError } from '../index.js'
import { rejects, tempVolume, turn } from './support.mjs'

/** The methods that do I/O on a regular file. */
const methods = {
  read: (files, relPath) => files.read(relPath),
  readString: (files, relPath) => files.readString(relPath),
  write: (files, relPath) => files.write(relPath, 'x'),
  writeAtomic: (files, relPath) => files.write(relPath, 'x', { atomic: true }),
}

/** A wait for the other end of a FIFO never ends. */
const watched = { timeout: 180_000 }

test('case 10: a FIFO is refused by its name at once', watched, async (t) => {
  const { files, root } = await tempVolume(t)
  execFileSync('mkfifo', [path.join(root, 'fifo')])
  for (const call of Object.values(methods)) {
    const expected = { code: 'ENOTSUP', path: 'fifo', message: /not a regular file/ }
    await rejects(call(files, 'fifo'), FileSystemError, expected)
  }
  assert.equal(await files.exists('fifo'), true)
  await files.remove('fifo')
  assert.equal(await files.exists('fifo'), false)
})

test('case 11: 600 reads of FIFOs do not hold up a normal one', watched, async (t) => {
  const { files, root } = await tempVolume(t)
  const fifos = Array.from({ length: 8 }, (_, number) => `fifo-${number}`)
  execFileSync(
    'mkfifo',
    fifos.map((name) => path.join(root, name)),
  )
  writeFileSync(path.join(root, 'normal'), 'content')
  for (let round = 0; round < 5; round += 1) {
    const reads = Array.from({ length: 600 }, (_, number) => files.read(fifos[number % fifos.length]))
    const refusals = reads.map((read) => rejects(read, FileSystemError, { code: 'ENOTSUP' }))
    assert.equal(await files.readString('normal'), 'content')
    await Promise.all(refusals)
  }
})

/** Opens the other end of a FIFO that a process waits at. Nothing waits here, so that a timeout ends the test. */
async function writingEnd(fifo, signal) {
  for (;;) {
    try {
      return await open(fifo, constants.O_WRONLY | constants.O_NONBLOCK)
    } catch (error) {
      if (error.code !== 'ENXIO') throw error
    }
    signal.throwIfAborted()
    await turn()
  }
}

test('case 11: the same reads by name hold up a normal one until others open the FIFOs', watched, async (t) => {
  const { root } = await tempVolume(t)
  const fifos = Array.from({ length: 8 }, (_, number) => path.join(root, `fifo-${number}`))
  execFileSync('mkfifo', fifos)
  writeFileSync(path.join(root, 'normal'), 'content')
  const source = `
    const { promises, writeFileSync } = require('node:fs')
    const [normal, read, ...fifos] = process.argv.slice(1)
    for (const fifo of fifos) promises.open(fifo).catch(() => {})
    promises.readFile(normal).then(() => writeFileSync(read, ''))`
  const read = path.join(root, 'read')
  const child = spawn(process.execPath, ['-e', source, path.join(root, 'normal'), read, ...fifos], {
    env: { ...process.env, UV_THREADPOOL_SIZE: '4' },
    stdio: 'ignore',
  })
  const ended = once(child, 'exit')
  t.after(() => child.kill('SIGKILL'))
  const others = []
  for (const fifo of fifos) {
    // The four threads of libuv wait for the other ends of FIFOs, each for one after the other.
    assert.ok(others.length > 4 || !existsSync(read))
    others.push(await writingEnd(fifo, t.signal))
  }
  await ended
  assert.ok(existsSync(read))
  await Promise.all(others.map((other) => other.close()))
})
