// What several test files need: homes that vanish, child processes, locks, and errors looked at closely.
import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, lstatSync, readlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { VolumeError, VolumeStore } from '../index.js'

export const root = fileURLToPath(new URL('..', import.meta.url))
export const indexPath = path.join(root, 'index.js')
export const indexUrl = pathToFileURL(indexPath).href
export const isRoot = process.getuid?.() === 0

/** A directory of the test's own. */
export function tempDir(t) {
  const dir = mkdtempSync(path.join(tmpdir(), 'sandbox-volumes-'))
  t.after(() => rmSync(dir, { recursive: true, force: true, maxRetries: 3 }))
  return dir
}

/** A store in a home of its own; `fast`, for these tests pull no plug. */
export async function tempStore(t, options = {}) {
  return VolumeStore.open({ home: path.join(tempDir(t), 'home'), durability: 'fast', ...options })
}

/** A volume `v` in a store of its own. */
export async function tempVolume(t, ...options) {
  const store = await tempStore(t)
  const volume = await store.createVolume('v', ...options)
  return { store, volume, files: volume.fs(), root: volume.path }
}

/** Makes the module functions use a home of the test's own. */
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

/** Runs JavaScript in a Node process of its own, started by the command `by`, in which `SV` is the address of index.js. */
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

/** The same for a process that must end well; gives what it printed. */
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

/** Waits until a process says that it holds something; returns what has it end, which the test's end does as well. */
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

/** Has another process hold the lock of a volume's name. */
export function lockName(t, store, name) {
  return lockFile(t, path.join(store.home, 'volumes', '.locks', `${name}.lock`))
}

/** The same for a file. */
export async function lockFile(t, file) {
  const child = spawn('flock', [file, 'sh', '-c', 'echo held; exec cat'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  return releaser(t, child)
}

/**
 * Keeps `count` operations waiting for a lock that a test holds: one that gives up begins again. `ended` counts those that
 * gave up or ended otherwise, and `outcomes` has how they ended otherwise.
 */
export function keepWaiting(count, begin) {
  const waiting = { ended: 0 }
  const wait = async (at) => {
    for (;;) {
      const outcome = await begin(at).then((value) => ({ value }), (error) => ({ error }))
      waiting.ended += 1
      if (outcome.error?.code !== 'ERR_VOLUME_IN_USE') return outcome
    }
  }
  waiting.outcomes = Promise.all(Array.from({ length: count }, (_, at) => wait(at)))
  return waiting
}

/**
 * Makes attempts until one gives true. An attempt shows what it is to show only if it takes less time than others wait for
 * a lock or a lease, which it may not on a busy machine. Where the property does not hold, no attempt shows it.
 */
export async function shownOnce(attempt, what) {
  for (let tried = 0; tried < 5; tried += 1) {
    if (await attempt()) return
  }
  assert.fail(what)
}

/** Has another program run SQL on a home's catalog; gives the first value of its answer. */
export function changeCatalog(home, sql) {
  const program = `import sqlite3, sys
catalog = sqlite3.connect(sys.argv[1])
for row in catalog.execute(sys.argv[2]): print(row[0])
catalog.commit()`
  const answer = execFileSync('python3', ['-c', program, path.join(home, 'db', 'volumes.db'), sql], { encoding: 'utf8' })
  return answer.trim()
}

/** Holds that `promise` rejects with an error of class `Class` that has these `properties`; gives it. */
export async function rejects(promise, Class, properties = {}) {
  const outcome = await promise.then(
    (value) => ({ value }),
    (error) => ({ error }),
  )
  assert.ok('error' in outcome, `expected ${Class.name}, but it resolved`)
  return isError(outcome.error, Class, properties)
}

/** The same for a synchronous call. */
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

/** Everything below a directory, by path: a file's content, a link's target, or null for a directory. */
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

/** The volumes directory, whose lock files come and stay. */
export function volumesSnapshot(store) {
  const found = snapshot(path.join(store.home, 'volumes'))
  return Object.fromEntries(Object.entries(found).filter(([entry]) => !entry.startsWith('.locks')))
}

/** Resolves when the event loop has turned once. */
export const turn = () => new Promise(setImmediate)

/** Numbers the turns of the event loop until the test ends. */
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

/** What a `SandboxBuilder` of microsandbox is to us: it keeps the calls that are made for each mount. */
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
