// The time that `require('sandbox-volumes')` takes in a fresh process, compared with an empty CommonJS module, and with
// the addon alone. The files are in the cache of the host's disk.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const ROUNDS = 51

const root = fileURLToPath(new URL('..', import.meta.url))
const directory = mkdtempSync(path.join(os.tmpdir(), 'sandbox-volumes-bench-'))

/** Returns the milliseconds that a fresh process needs to load a module. */
function load(file) {
  const source = `
    const start = process.hrtime.bigint()
    require(${JSON.stringify(file)})
    console.log(Number(process.hrtime.bigint() - start) / 1e6)`
  return Number(execFileSync(process.execPath, ['-e', source], { encoding: 'utf8' }))
}

try {
  const empty = path.join(directory, 'empty.js')
  writeFileSync(empty, '')
  const addon = readdirSync(root).find((name) => name.endsWith('.node'))
  const files = { 'an empty module': empty, 'the addon': path.join(root, addon), 'the package': path.join(root, 'index.js') }
  const times = Object.fromEntries(Object.keys(files).map((name) => [name, []]))
  for (let round = 0; round < ROUNDS; round++) {
    for (const [name, file] of Object.entries(files)) times[name].push(load(file))
  }
  const sorted = Object.entries(times).map(([name, values]) => [name, values.sort((a, b) => a - b)])
  const line = sorted.map(([name, values]) => `${name} ${values[values.length >> 1].toFixed(1)} (least ${values[0].toFixed(1)})`)
  console.log(`${'require, median in ms'.padEnd(38)} ${line.join('   ')}`)
} finally {
  rmSync(directory, { recursive: true, force: true })
}
