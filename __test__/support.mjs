// Support for several test files: temporary homes, child processes, locks, and assertions on errors.
import assert from 'node:assert/strict'
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  existsSync,
  linkSync,
  lstatSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { VolumeError, VolumeStore } from '../index.js'

export const root = fileURLToPath(new URL('..', import.meta.url))
export const indexPath = path.join(root, 'index.js')
export const indexUrl = pathToFileURL(indexPath).href
/** The file of the addon: of the checkout, or of the installed package of this platform. */
export const addonFile = (() => {
  process.report.excludeNetwork = true
  return process.report.getReport().sharedObjects.find((file) => /\bsandbox-volumes\.[^/]*\.node$/.test(file))
})()
export const isRoot = process.getuid?.() === 0

/** The C compiler of this machine, or undefined. */
export const compiler = ['/usr/bin/cc', '/usr/bin/gcc'].find(existsSync)

/** Creates a temporary directory for a test. */
export function tempDir(t) {
  const dir = mkdtempSync(path.join(tmpdir(), 'sandbox-volumes-'))
  t.after(() => rmSync(dir, { recursive: true, force: true, maxRetries: 3 }))
  return dir
}

/** Opens a store in a temporary home. It is `fast`, because these tests do not cut the power. */
export async function tempStore(t, options = {}) {
  return VolumeStore.open({ home: path.join(tempDir(t), 'home'), durability: 'fast', ...options })
}

/** Creates a volume `v` in a temporary store. */
export async function tempVolume(t, ...options) {
  const store = await tempStore(t)
  const volume = await store.createVolume('v', ...options)
  return { store, volume, files: volume.fs(), root: volume.path }
}

/** Makes the module functions use a temporary home. */
export function useDefaultHome(t, home = path.join(tempDir(t), 'home')) {
  const before = process.env.MSB_HOME
  process.env.MSB_HOME = home
  t.after(() => {
    if (before === undefined) {
      delete process.env.MSB_HOME
    } else {
      process.env.MSB_HOME = before
    }
  })
  return home
}

/**
 * Runs JavaScript in a separate Node.js process, started by the command `by`. `SV` is the address of index.js
 * there.
 */
export async function runNode(source, { env = {}, args = [], type = 'module', cwd, by = [] } = {}) {
  const [file, ...before] = [...by, process.execPath]
  const child = spawn(file, [...before, ...args, `--input-type=${type}`, '-e', source], {
    cwd,
    env: {
      ...process.env,
      NODE_TEST_CONTEXT: undefined,
      SV: type === 'module' ? indexUrl : indexPath,
      ...env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let [stdout, stderr] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (text) => (stdout += text))
  child.stderr.setEncoding('utf8').on('data', (text) => (stderr += text))
  const [code, signal] = await once(child, 'close')
  return { code, signal, stdout, stderr }
}

/** Runs JavaScript in a process that must exit with 0. Returns what it printed. */
export async function outputOf(source, options) {
  const { code, signal, stdout, stderr } = await runNode(source, options)
  assert.deepEqual({ code, signal, stderr }, { code: 0, signal: null, stderr: '' })
  return stdout
}

/** Why locks of another process cannot be tested here, or false. */
export const withoutFlock = ['/usr/bin/flock', '/bin/flock'].some(existsSync)
  ? false
  : process.env.CI === 'true'
    ? assert.fail('flock (util-linux) is missing')
    : 'flock (util-linux) is missing'

/**
 * Waits until a process reports that it holds something. Returns a function that ends the process, as the end of
 * the test does.
 */
export async function releaser(t, child) {
  const closed = once(child, 'close')
  await once(child.stdout, 'data')
  const release = async () => {
    child.stdin.end()
    await closed
  }
  t.after(release)
  return release
}

/** Makes another process hold the lock of a volume name. */
export function lockName(t, store, name) {
  return lockFile(t, path.join(store.home, 'volumes', '.locks', `${name}.lock`))
}

/** Makes another process hold the lock of a file. */
export async function lockFile(t, file) {
  const child = spawn('flock', [file, 'sh', '-c', 'echo held; exec cat'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  return releaser(t, child)
}

/**
 * Keeps `count` operations waiting for a lock that a test holds. An operation that times out starts again. `ended`
 * counts those that timed out or ended otherwise, `settled` the latter, and `outcomes` has how they ended.
 */
export function keepWaiting(count, begin) {
  const waiting = { ended: 0, settled: 0 }
  const wait = async (at) => {
    for (;;) {
      const outcome = await begin(at).then((value) => ({ value }), (error) => ({ error }))
      waiting.ended += 1
      if (outcome.error?.code === 'ERR_VOLUME_IN_USE') continue
      waiting.settled += 1
      return outcome
    }
  }
  waiting.outcomes = Promise.all(Array.from({ length: count }, (_, at) => wait(at)))
  return waiting
}

/**
 * Keeps all threads that wait for locks busy, and more calls in their queue: creates volumes whose names have one
 * lock, until `release`.
 */
export async function occupyBlockingPool(t, store) {
  const names = Array.from({ length: 160 }, (_, at) => `locked-${at}`)
  const locks = path.join(store.home, 'volumes', '.locks')
  writeFileSync(path.join(locks, 'locked.lock'), '')
  for (const name of names) {
    linkSync(path.join(locks, 'locked.lock'), path.join(locks, `${name}.lock`))
  }
  const release = await lockName(t, store, 'locked')
  return { names, release, waiting: keepWaiting(names.length, (at) => store.createVolume(names[at])) }
}

/** How many attempts `shownOnce` makes. */
export const MAX_ATTEMPTS = 5

/**
 * Makes attempts until one returns true. An attempt shows its property only if it takes less time than other
 * operations wait for a lock or a lease, which a busy machine may not allow. If the property does not hold, no
 * attempt shows it.
 */
export async function shownOnce(attempt, what) {
  for (let tried = 0; tried < MAX_ATTEMPTS; tried += 1) {
    if (await attempt()) return
  }
  assert.fail(what)
}

/** Returns why no other program can change a catalog here, or false. Its tables are STRICT: SQLite 3.37 reads them. */
export function withoutSqlite() {
  const program = 'import sqlite3, sys; sys.exit(sqlite3.sqlite_version_info < (3, 37))'
  if (spawnSync('python3', ['-c', program]).status === 0) return false
  const reason = 'python3 is missing, or its SQLite is older than 3.37'
  return process.env.CI === 'true' ? assert.fail(reason) : reason
}

/** Runs SQL on the catalog of a home in another program. Returns the first value of the answer. */
export function changeCatalog(home, sql) {
  const program = `import sqlite3, sys
catalog = sqlite3.connect(sys.argv[1])
for row in catalog.execute(sys.argv[2]): print(row[0])
catalog.commit()`
  const answer = execFileSync('python3', ['-c', program, path.join(home, 'db', 'volumes.db'), sql], { encoding: 'utf8' })
  return answer.trim()
}

/** Asserts that `promise` rejects with an error of class `Class` that has these `properties`. Returns the error. */
export async function rejects(promise, Class, properties = {}) {
  const outcome = await promise.then(
    (value) => ({ value }),
    (error) => ({ error }),
  )
  assert.ok('error' in outcome, `expected ${Class.name}, but it resolved`)
  return isError(outcome.error, Class, properties)
}

/** Asserts that a promise rejects with exactly this reason. */
export async function rejectsWith(promise, reason, what) {
  const outcome = await promise.then(
    () => 'it resolved',
    (error) => [error],
  )
  assert.deepEqual(outcome, [reason], what)
  assert.equal(outcome[0], reason, what)
}

/** Asserts that a synchronous call throws such an error. Returns the error. */
export function throws(call, Class, properties = {}) {
  try {
    call()
  } catch (error) {
    return isError(error, Class, properties)
  }
  return assert.fail(`expected ${Class.name}, but nothing was thrown`)
}

function isError(error, Class, properties) {
  assert.ok(error instanceof Class, `expected ${Class.name}, got ${error?.stack ?? String(error)}`)
  assert.ok(error instanceof VolumeError && error instanceof Error)
  for (const [name, expected] of Object.entries(properties)) {
    if (expected instanceof RegExp) {
      assert.match(error[name], expected)
    } else {
      assert.deepEqual(error[name], expected, `${name} of ${error.stack}`)
    }
  }
  return error
}

/**
 * Returns everything below a directory, keyed by path: the content of a file, the target of a link, or null for a
 * directory.
 */
export function snapshot(dir) {
  const found = {}
  for (const entry of existsSync(dir) ? readdirSync(dir, { recursive: true }).sort() : []) {
    const at = path.join(dir, entry)
    const kind = lstatSync(at)
    found[entry] = kind.isSymbolicLink()
      ? `-> ${readlinkSync(at)}`
      : kind.isFile()
        ? readFileSync(at, 'latin1')
        : null
  }
  return found
}

/** Returns the volumes directory without its lock files, which come and stay. */
export function volumesSnapshot(store) {
  const found = snapshot(path.join(store.home, 'volumes'))
  return Object.fromEntries(Object.entries(found).filter(([entry]) => !entry.startsWith('.locks')))
}

/** Resolves after one turn of the event loop. */
export const turn = () => new Promise(setImmediate)

/** Counts the turns of the event loop until the test ends. */
export function countTurns(t) {
  const counted = { turn: 0 }
  const next = () => {
    counted.turn += 1
    immediate = setImmediate(next)
  }
  let immediate = setImmediate(next)
  t.after(() => clearImmediate(immediate))
  return counted
}

/** A stand-in for the `SandboxBuilder` of microsandbox, which records the calls for each mount. */
export class RecordingBuilder {
  mounts = []

  volume(guestPath, configure) {
    const calls = []
    const mount = new Proxy(
      {},
      {
        get: (_, method) => (...args) => {
          calls.push([method, ...args])
          return mount
        },
      },
    )
    configure(mount)
    this.mounts.push({ guestPath, calls })
    return this
  }
}

/** Asserts that arguments contain these in a row. The shared cases check all of the arguments. */
export function assertContains(argv, expected) {
  const found = argv.some((_, start) => expected.every((argument, index) => argv[start + index] === argument))
  assert.ok(found, `${expected.join(' ')}\nis not in\n${argv.join(' ')}`)
}
