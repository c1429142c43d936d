// `list` and `stat` compared with fs.promises on the same directory, and how long a listing blocks the event loop.
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { VolumeStore } from '../index.js'
import { sideBySide } from './side-by-side.mjs'

const ENTRIES = 100_000
const DIRECTORIES = 1000
const ROUNDS = 5

/** Runs `operation`. Returns the longest turn of the event loop, in milliseconds. */
async function longestGap(operation) {
  let [longest, last, running] = [0, performance.now(), true]
  const turn = () => {
    const now = performance.now()
    longest = Math.max(longest, now - last)
    last = now
    if (running) {
      setImmediate(turn)
    }
  }
  setImmediate(turn)
  await operation()
  running = false
  turn()
  return longest
}

async function nodesList(directory, recursive) {
  const entries = await fs.promises.readdir(directory, { withFileTypes: true, recursive })
  return Promise.all(
    entries.map(async (entry) => {
      const { size, mode, mtime } = await fs.promises.lstat(path.join(entry.parentPath ?? entry.path, entry.name))
      return { path: entry.name, size, mode, modified: mtime }
    }),
  )
}

async function iterated(listing) {
  let count = 0
  for await (const _entry of listing) {
    count += 1
  }
  return count
}

const home = fs.mkdtempSync(path.join(os.tmpdir(), 'sandbox-volumes-bench-'))
try {
  const store = await VolumeStore.open({ home, durability: 'fast' })
  const volume = await store.createVolume('bench')
  const files = volume.fs()
  const inVolume = (name) => path.join(volume.path, name)
  fs.mkdirSync(inVolume('wide'))
  for (let index = 0; index < ENTRIES; index++) {
    fs.writeFileSync(inVolume(`wide/file-${index}`), '')
  }
  for (let index = 0; index < DIRECTORIES; index++) {
    fs.mkdirSync(inVolume(`tree/dir-${index}`), { recursive: true })
    for (let file = 0; file < ENTRIES / DIRECTORIES; file++) {
      fs.writeFileSync(inVolume(`tree/dir-${index}/file-${file}`), '')
    }
  }
  fs.mkdirSync(inVolume('small'))
  for (let index = 0; index < 20; index++) {
    fs.writeFileSync(inVolume(`small/file-${index}`), '')
  }

  for (const [title, name, recursive] of [
    [`list ${ENTRIES} entries`, 'wide', false],
    [`list a tree of ${ENTRIES + DIRECTORIES} entries`, 'tree', true],
  ]) {
    const candidates = {
      'await VolumeFs.list': () => files.list(name, { recursive }),
      'for await VolumeFs.list': () => iterated(files.list(name, { recursive })),
      'fs.promises.readdir + lstat': () => nodesList(inVolume(name), recursive),
    }
    await sideBySide(title, candidates, { operations: 1, rounds: ROUNDS })
    for (const [candidate, operation] of Object.entries(candidates)) {
      const gaps = []
      for (let round = 0; round < ROUNDS; round++) {
        gaps.push(await longestGap(operation))
      }
      gaps.sort((a, b) => a - b)
      const [best, middle] = [gaps[0], gaps[ROUNDS >> 1]].map((gap) => gap.toFixed(1))
      console.log(`${''.padEnd(38)} longest gap: ${candidate} ${middle} ms, in the best round ${best} ms`)
    }
  }
  for (const atOnce of [1, 64]) {
    await sideBySide(`list 20 entries, ${atOnce} at once`, {
      'VolumeFs.list': () => files.list('small'),
      'fs.promises.readdir + lstat': () => nodesList(inVolume('small')),
    }, { operations: 640, atOnce })
    await sideBySide(`stat, ${atOnce} at once`, {
      'VolumeFs.stat': () => files.stat('small/file-0'),
      'fs.promises.stat': () => fs.promises.stat(inVolume('small/file-0')),
    }, { operations: 3200, atOnce })
  }
} finally {
  fs.rmSync(home, { recursive: true })
}
