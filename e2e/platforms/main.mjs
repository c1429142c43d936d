// Runs the JavaScript suite on other platforms than this machine's: from the packed tarballs, through the loader, with
// an old glibc, with musl, and on emulated processors. docs/testing.md describes it.
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { platforms } from './platforms.mjs'
import { table } from './results.mjs'
import { readLock, updateLock } from './roots.mjs'
import { runPlatform } from './suite.mjs'

const checkout = fileURLToPath(new URL('../..', import.meta.url))
const cache = path.join(checkout, '.cache/platforms')
const names = platforms.map(({ name }) => name)

const { values: options } = parseArgs({
  options: {
    only: { type: 'string', multiple: true, default: names },
    file: { type: 'string', multiple: true },
    dist: { type: 'string', default: path.join(checkout, 'dist') },
    'update-lock': { type: 'boolean', default: false },
  },
})

const interrupted = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => interrupted.abort())

const started = Date.now()
const report = (text) => console.log(`[${String(Math.round((Date.now() - started) / 1000)).padStart(4)} s] ${text}`)

/** Removes what a killed run left. Its processes and mounts ended with it. */
function removeAbandoned() {
  for (const name of readdirSync(cache)) {
    const [, pid] = /^run-(\d+)-/.exec(name) ?? []
    if (pid !== undefined && !existsSync(`/proc/${pid}`)) {
      rmSync(path.join(cache, name), { recursive: true, force: true })
    }
  }
}

/** Says how long a write with a quota takes, and how that compares. It takes long where no file has a birth time. */
function reportCosts(rows) {
  const costs = new Map(rows.filter(({ cost }) => cost !== null).map(({ name, cost }) => [name, cost]))
  for (const [name, { median, first }] of costs) {
    const times = `${median.toFixed(3)} ms, the first ${first.toFixed(1)} ms`
    report(`${name}: a write into a volume of 20,000 files with a quota takes ${times}`)
  }
  const [glibc, musl] = ['linux-x64-gnu', 'linux-x64-musl'].map((name) => costs.get(name)?.median)
  if (glibc && musl) report(`With musl it takes ${(musl / glibc).toFixed(2)} times as long as with glibc`)
}

async function main() {
  mkdirSync(cache, { recursive: true })
  removeAbandoned()
  if (options['update-lock']) return updateLock(cache, report)
  const unknown = options.only.filter((name) => !names.includes(name))
  if (unknown.length > 0) {
    throw new Error(`No platform is named "${unknown.join('", "')}". There are: ${names.join(', ')}`)
  }
  const { dist, only, file } = options
  const setting = { checkout, cache, dist, lock: readLock(), signal: interrupted.signal, report }
  const rows = []
  for (const platform of platforms.filter(({ name }) => only.includes(name))) {
    const work = mkdtempSync(path.join(cache, `run-${process.pid}-`))
    try {
      rows.push(await runPlatform(platform, setting, work, file))
    } finally {
      rmSync(work, { recursive: true, force: true, maxRetries: 3 })
    }
    if (interrupted.signal.aborted) throw new Error('A signal ended the run.')
  }
  reportCosts(rows)
  console.log(`\n${table(rows)}`)
  process.exitCode = rows.every(({ failed }) => failed === 0) ? 0 : 1
}

await main().catch((error) => {
  console.error(`\n${error.message}`)
  process.exitCode = 1
})
