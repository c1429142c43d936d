// Runs the test files of one platform in its root.
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import path from 'node:path'
import { INSTALLED, install } from './install.mjs'
import { judge, testsOf } from './results.mjs'
import { emulatorOf, nodeOf, rootOf } from './roots.mjs'
import { command, run } from './sandbox.mjs'
import { checkoutOnly, skips } from './skips.mjs'

/** A test file that takes longer hangs, and is ended. */
const MAX_FILE_MS = 30 * 60_000

/** Returns the path of a script of this directory in a root. */
const scriptInRoot = (name) => `/app/${INSTALLED}/e2e/platforms/${name}`

/** Returns the names of the test files of the JavaScript suite that can run in a root. */
function allFiles(checkout) {
  const names = readdirSync(path.join(checkout, '__test__')).filter((name) => name.endsWith('.test.mjs'))
  return names.filter((name) => !(name in checkoutOnly))
}

/** The results of the files that cannot. */
const notRun = Object.entries(checkoutOnly).map(([file, reason]) => ({
  file,
  tests: [{ name: 'all of it', outcome: 'skipped', reason }],
  fault: null,
}))

/**
 * Runs the test files of a platform, or only those of `files`. `setting` has `checkout`, `cache`, `dist`, `lock`, a
 * `signal` that ends the run, and `report` for progress. `work` is an empty directory. Returns the platform's row of
 * the table, with `cost`, the time of a write with a quota.
 */
export async function runPlatform(platform, setting, work, files) {
  const { name } = platform
  const report = (text) => setting.report(`${name}: ${text}`)
  const place = prepare(platform, { ...setting, report }, work)
  const about = await probe(platform, setting, place)
  report(`Node.js ${about.node}, ${about.libc}`)

  const chosen = files ?? platform.files ?? allFiles(setting.checkout)
  let ended = 0
  const results = await inParallel(chosen, setting.signal, async (file) => {
    const result = await runFile(file, setting, place)
    ended += 1
    const { passed, failed, skipped, failures } = judge(name, [result], skips)
    report(`${file}: ${passed} passed, ${failed} failed, ${skipped} skipped (${ended} of ${chosen.length})`)
    for (const failure of failures) report(`failed: ${failure}`)
    return result
  })
  const cost = platform.emulator === undefined && files === undefined ? await quotaCost(setting, place) : null
  const all = files === undefined && platform.files === undefined ? [...results, ...notRun] : results
  return { name, libc: about.libc, node: about.node, ...judge(name, all, skips), cost }
}

/** Makes what a sandbox is started with: the root, Node.js, the installed package. */
function prepare(platform, { checkout, cache, dist, lock, report }, work) {
  const place = {
    root: rootOf(platform, lock, cache, report),
    node: nodeOf(platform, lock, cache, report),
    emulator: emulatorOf(platform, lock, cache, report),
    ...Object.fromEntries(['app', 'binfmt', 'logs', 'results'].map((name) => [name, path.join(work, name)])),
    work,
  }
  for (const each of [place.binfmt, place.logs, place.results]) mkdirSync(each)
  report('installing the tarballs')
  install(checkout, platform, dist, place.app)
  return place
}

/** Runs a program in the root. Returns how it ended, and what it printed. */
async function inRoot(program, { signal }, place) {
  const tmp = mkdtempSync(path.join(place.work, 'tmp-'))
  chmodSync(tmp, 0o1777)
  mkdirSync(path.join(tmp, 'home'))
  const log = path.join(place.logs, path.basename(tmp))
  const ended = await run(command({ ...place, tmp }, program), { signal, timeout: MAX_FILE_MS, log })
  rmSync(tmp, { recursive: true, force: true, maxRetries: 3 })
  return { ended, text: readFileSync(log, 'utf8') }
}

/** Loads the package. Returns the versions of Node.js and of the C library. The loader must choose this platform. */
async function probe({ name }, setting, place) {
  const { ended, text } = await inRoot(['node', scriptInRoot('probe.mjs')], setting, place)
  if (ended !== 0) throw new Error(`The package does not load on ${name}, with ${ended}:\n${text}`)
  const about = JSON.parse(lastLine(text))
  const wanted = `/app/node_modules/sandbox-volumes-${name}/sandbox-volumes.${name}.node`
  if (about.addon.join() !== wanted) {
    throw new Error(`On ${name}, the loader chose "${about.addon.join()}", not "${wanted}"`)
  }
  return about
}

async function runFile(file, setting, place) {
  const reporter = ['--test-reporter', scriptInRoot('reporter.mjs'), '--test-reporter-destination', `/results/${file}`]
  const { ended, text } = await inRoot(['node', ...reporter, `${INSTALLED}/__test__/${file}`], setting, place)
  const results = path.join(place.results, file)
  return testsOf(file, existsSync(results) ? readFileSync(results, 'utf8') : '', ended, text)
}

const lastLine = (text) => text.trimEnd().split('\n').at(-1)

async function quotaCost(setting, place) {
  const { ended, text } = await inRoot(['node', scriptInRoot('quota-cost.mjs')], setting, place)
  if (ended !== 0) throw new Error(`quota-cost.mjs failed with ${ended}:\n${text}`)
  return JSON.parse(lastLine(text))
}

/** Calls `work` for each item, several at once, until `signal` aborts. Returns the results in the items' order. */
async function inParallel(items, signal, work) {
  const results = []
  const waiting = [...items.entries()]
  const next = async () => {
    while (waiting.length > 0 && !signal.aborted) {
      const [at, item] = waiting.shift()
      results[at] = await work(item)
    }
  }
  // Many tests wait for other processes, so on a machine with two processors two files run at once.
  await Promise.all(Array.from({ length: Math.max(2, availableParallelism() - 1) }, next))
  return results
}
