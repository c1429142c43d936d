// Prints how long a write into a volume of 20,000 files takes, with a quota, in milliseconds.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import path from 'node:path'

const FILES = 20_000
const WRITES = 200

const { VolumeStore } = createRequire('/app/')('sandbox-volumes')
const home = mkdtempSync(path.join(tmpdir(), 'sandbox-volumes-quota-'))
try {
  const store = await VolumeStore.open({ home, durability: 'fast' })
  const volume = await store.createVolume('v', { quotaMib: 1024 })
  for (let file = 0; file < FILES; file += 1) {
    const directory = path.join(volume.path, String(file % 200))
    if (file < 200) mkdirSync(directory)
    writeFileSync(path.join(directory, String(file)), '')
  }
  const files = volume.fs()
  const times = []
  for (let write = 0; write <= WRITES; write += 1) {
    const start = process.hrtime.bigint()
    await files.write(`new-${write}`, 'content')
    times.push(Number(process.hrtime.bigint() - start) / 1e6)
  }
  // The first write measures the volume, which takes as long as there are files.
  const [first, ...later] = times
  const { created } = await files.stat('new-1')
  const median = later.sort((a, b) => a - b)[WRITES / 2]
  console.log(JSON.stringify({ first, median, hasBirthTimes: created instanceof Date }))
} finally {
  rmSync(home, { recursive: true })
}
