// Support for every end-to-end suite: suites that name their missing tool, temporary stores, sandboxes that end.
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { lstatSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { describe, test } from 'node:test'
import { VolumeStore } from '../index.js'

/** The user ID of `nobody`. */
export const NOBODY = 65534

/** The timeout of a sandbox, far longer than it takes on a busy machine. */
const MAX_RUN_MS = 180_000

/**
 * Only root can set up some things: device nodes, files of other users. These tests are skipped for other users.
 */
export const needsRoot = { skip: process.getuid() === 0 ? false : 'only root can set this up' }

/** A suite of tests. If its tool does not work (`unavailable` says why), it is skipped by name; in CI it fails. */
export function suite(name, unavailable, define) {
  if (unavailable !== null && process.env.CI === 'true') {
    test(`${name} works here`, () => assert.fail(unavailable))
  } else {
    describe(name, { skip: unavailable ?? false }, define)
  }
}

/**
 * The directory for temporary directories. A mount in a sandbox starts with the flags of its source file system.
 * /tmp is often mounted with nosuid and nodev: there, no test could see the effect of a mount without them.
 */
const ROOM = [tmpdir(), '/var/tmp'].find((directory) => {
  const { status, stdout } = spawnSync('findmnt', ['-n', '-o', 'OPTIONS', '-T', directory], { encoding: 'utf8' })
  return status === 0 && !/nosuid|nodev|noexec/.test(stdout)
})

/** Creates a directory of the host, which is removed when the test ends. */
export function temporaryDirectory(t) {
  const directory = mkdtempSync(join(ROOM ?? tmpdir(), 'sandbox-volumes-e2e-'))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

/** Opens a store in a temporary home. */
export const openStore = (t) => VolumeStore.open({ home: join(temporaryDirectory(t), 'home') })

/**
 * Returns everything below a directory, keyed by relative path: the content of a file, or the kind of another
 * entry.
 */
export function snapshot(directory) {
  const describeEntry = (path) => {
    const stats = lstatSync(path)
    const mode = (stats.mode & 0o7777).toString(8)
    return stats.isFile() ? `${mode} ${readFileSync(path, 'latin1')}` : `${mode} not a file`
  }
  const names = readdirSync(directory, { recursive: true }).sort()
  return Object.fromEntries(names.map((name) => [name, describeEntry(join(directory, name))]))
}

/** Starts a sandbox to exchange lines with while it runs. It ends with the test at the latest. */
export function start(t, { file, args, descriptors = [], dispose }) {
  const stdio = ['pipe', 'pipe', 'pipe', ...descriptors]
  const child = spawn(file, args, { stdio, timeout: MAX_RUN_MS, killSignal: 'SIGKILL' })
  // Not 'close': a container that outlives its killed runc keeps the pipes open until it is disposed of.
  const ended = once(child, 'exit').finally(() => dispose?.())
  t.after(async () => {
    child.kill('SIGKILL')
    await ended
  })
  child.stdin.on('error', () => {}) // It ended before it read everything. `end` returns its status.
  let complaints = ''
  child.stderr.on('data', (text) => (complaints += text))
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  return {
    async nextLine() {
      const { value, done } = await lines.next()
      assert.ok(!done, `the sandbox ended without another line: ${complaints}`)
      return value
    },
    say: (line) => child.stdin.write(`${line}\n`),
    async end() {
      child.stdin.end()
      const [status] = await ended
      return status
    },
  }
}
