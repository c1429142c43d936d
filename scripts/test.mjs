// Runs the Rust suite, then the JavaScript one, then the end-to-end ones in real sandboxes. At the end it says for each how
// many tests passed, failed and were skipped, and names those that did not pass.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { cargoSummary, table } from './test-summary.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))
const reporter = new URL('test-summary.mjs', import.meta.url).href

function testFiles(directory) {
  const names = readdirSync(new URL(`../${directory}/`, import.meta.url))
  return names.filter((name) => name.endsWith('.test.mjs')).map((name) => `${directory}/${name}`)
}

/** How a process ended, of which `0` is well. */
async function ended(child) {
  const [code, signal] = await once(child, 'close')
  return code ?? signal
}

/** Two tests for each core: most wait for disks and for processes. `RUST_TEST_THREADS` takes precedence. */
const threads = { RUST_TEST_THREADS: String(availableParallelism() * 2) }

async function runCargo(args) {
  const color = process.stdout.isTTY ? ['--color', 'always'] : []
  const child = spawn('cargo', [args[0], ...color, ...args.slice(1)], {
    cwd: root,
    env: { ...threads, ...process.env },
    stdio: ['inherit', 'pipe', 'pipe'],
  })
  const summary = cargoSummary()
  for (const [from, to] of [
    [child.stdout, process.stdout],
    [child.stderr, process.stderr],
  ]) {
    createInterface({ input: from, crlfDelay: Infinity }).on('line', (line) => {
      to.write(`${line}\n`)
      summary.line(line)
    })
  }
  const status = await ended(child)
  return { status, ...summary.result() }
}

async function runNode(args) {
  const directory = mkdtempSync(path.join(tmpdir(), 'sandbox-volumes-tests-'))
  try {
    const file = path.join(directory, 'summary.json')
    const reporters = [
      [process.stdout.isTTY ? 'spec' : 'tap', 'stdout'],
      [reporter, file],
    ]
    const options = reporters.flatMap(([name, to]) => [
      `--test-reporter=${name}`,
      `--test-reporter-destination=${to}`,
    ])
    const status = await ended(spawn(process.execPath, ['--test', ...options, ...args], { cwd: root, stdio: 'inherit' }))
    return { status, ...summaryIn(file) }
  } finally {
    rmSync(directory, { recursive: true })
  }
}

/** What the reporter wrote, unless the process was killed before. */
function summaryIn(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'))
  } catch {
    return {}
  }
}

// Many of these tests wait for other processes, so on a machine with two processors two files run at once.
const concurrency = `--test-concurrency=${Math.max(2, availableParallelism() - 1)}`

const suites = [
  ['Rust', runCargo, ['test', '--no-default-features', '--no-fail-fast']],
  ['JavaScript', runNode, [concurrency, ...testFiles('__test__')]],
  ['End to end', runNode, ['--test-concurrency=1', ...testFiles('e2e')]],
]

const results = []
for (const [name, run, args] of suites) {
  console.log(`\n== ${name}: ${run === runCargo ? 'cargo' : 'node --test'} ${args.join(' ')}`)
  results.push({ name, ...(await run(args)) })
}
console.log(`\n${table(results)}`)
process.exitCode = results.every(({ status }) => status === 0) ? 0 : 1
