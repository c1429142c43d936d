// The directory of a run, and the processes in it. All of them end with the run.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'

/** The timeout of a command, far longer than it takes on a busy machine. */
const MAX_RUN_MS = 600_000

/** The programs that package managers start. No compiler is among them. */
const PROGRAMS = ['sh', 'env', 'uname', 'sed', 'dirname', 'readlink']

const groups = new Set()

/** Kills the process group of a child, once: later, another group may have its number. */
function end(child) {
  if (groups.delete(child)) {
    try {
      process.kill(-child.pid, 'SIGKILL')
    } catch {
      // The group has ended.
    }
  }
}

/** Starts a command in a process group of its own, so that `endAll` ends its descendants too. */
export function start(command, args, options) {
  const child = spawn(command, args, { detached: true, ...options })
  if (child.pid !== undefined) {
    groups.add(child)
  }
  return child
}

/** Ends a child and its descendants, and waits for it. */
export async function stop(child) {
  const ended = child.exitCode === null && child.signalCode === null ? once(child, 'exit') : null
  end(child)
  await ended
}

/** Ends every process that `start` started and that has not been stopped. */
export const endAll = () => [...groups].forEach(end)

/** Runs a command. Returns its output, and fails with it unless the command ends with `status`. */
export async function run(command, args, { cwd, env, status: expected = 0 }) {
  const child = start(command, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] })
  const output = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr']) {
    child[name].setEncoding('utf8').on('data', (text) => (output[name] += text))
  }
  const timer = setTimeout(() => end(child), MAX_RUN_MS)
  try {
    const [code, signal] = await once(child, 'close')
    const status = code ?? signal
    if (status !== expected) {
      const words = [path.basename(command), ...args].join(' ')
      throw new Error(`"${words}" ended with ${status}, not ${expected}:\n${output.stdout}${output.stderr}`)
    }
    return output
  } finally {
    clearTimeout(timer)
    end(child)
  }
}

/** Creates the directory of a run. `remove` deletes it. */
export function workDirectory() {
  const root = mkdtempSync(path.join(tmpdir(), 'sandbox-volumes-install-'))
  return { root, remove: () => rmSync(root, { recursive: true, force: true, maxRetries: 5 }) }
}

/** Writes files into a directory, keyed by relative path. Objects are written as JSON. */
export function write(directory, files) {
  for (const [name, content] of Object.entries(files)) {
    const file = path.join(directory, name)
    mkdirSync(path.dirname(file), { recursive: true })
    writeFileSync(file, typeof content === 'string' ? content : `${JSON.stringify(content, null, 2)}\n`)
  }
}

/** Creates a directory of programs: a Node.js as `node`, and what a script needs. It is the whole PATH of a row. */
export function programDirectory(directory, node) {
  mkdirSync(directory, { recursive: true })
  symlinkSync(node, path.join(directory, 'node'))
  for (const name of PROGRAMS) {
    symlinkSync(`/usr/bin/${name}`, path.join(directory, name))
  }
  return directory
}
