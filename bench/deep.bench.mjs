// Chains of nested directories: the time per level to measure, copy and remove, which must not grow with the depth.
// Each number includes the time in which the file system removes a directory, so `rm -rf` removes a chain of the
// same depth for comparison.
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { VolumeStore } from '../index.js'

const DEPTHS = (process.env.DEPTHS ?? '12000,25000,50000,100000').split(',').map(Number)

/** Creates a chain of `depth` directories at `top`, whose path is longer than `PATH_MAX`. */
function makeChain(top, depth) {
  const before = process.cwd()
  fs.mkdirSync(top)
  process.chdir(top)
  for (let level = 0; level < depth; level++) {
    fs.mkdirSync('d')
    process.chdir('d')
  }
  process.chdir(before)
}

/** Returns the microseconds per level of `operation`. */
async function aLevel(depth, operation) {
  const begin = performance.now()
  await operation()
  return ((performance.now() - begin) * 1000) / depth
}

const home = fs.mkdtempSync(path.join(os.tmpdir(), 'sandbox-volumes-bench-'))
try {
  const store = await VolumeStore.open({ home, durability: 'fast' })
  const volume = await store.createVolume('bench')
  const files = volume.fs()
  console.log('µs a level'.padEnd(12), ...['usage', 'copy', 'removeAll', 'rm -rf'].map((name) => name.padStart(10)))
  for (const depth of DEPTHS) {
    makeChain(path.join(volume.path, 'chain'), depth)
    makeChain(path.join(home, 'chain'), depth)
    const times = [
      await aLevel(depth, async () => (await store.getVolume('bench')).usedBytes),
      await aLevel(depth, () => files.copy('chain', 'copy')),
      await aLevel(depth, () => files.removeAll('chain')),
      await aLevel(depth, () => execFileSync('rm', ['-rf', path.join(home, 'chain')])),
    ]
    await files.removeAll('copy')
    console.log(String(depth).padEnd(12), ...times.map((time) => time.toFixed(1).padStart(10)))
  }
} finally {
  execFileSync('rm', ['-rf', home])
}
