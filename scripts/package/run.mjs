// Child processes and progress lines of the packaging commands.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs'

const started = performance.now()

/** Prints what happens now, and how many seconds after the start. */
export function progress(text) {
  const seconds = ((performance.now() - started) / 1000).toFixed(0)
  console.log(`[${seconds.padStart(4)} s] ${text}`)
}

/**
 * Runs a command and shows what it prints. Fails if the command does.
 *
 * @param {string} command
 * @param {string[]} args
 * @param {import('node:child_process').SpawnSyncOptions} [options]
 */
export function run(command, args, options = {}) {
  const { status, signal, error } = spawnSync(command, args, { stdio: 'inherit', ...options })
  if (error !== undefined) throw new Error(`Cannot run "${command}": ${error.message}`, { cause: error })
  if (status !== 0) throw new Error(`"${[command, ...args].join(' ')}" failed with ${signal ?? `status ${status}`}`)
}

/**
 * Runs a command and returns what it prints, without the last line break. Returns `undefined` if it fails, is not
 * there, or takes longer than `timeout`.
 *
 * @param {string} command
 * @param {string[]} args
 * @param {import('node:child_process').SpawnSyncOptions} [options]
 * @returns {string | undefined}
 */
export function output(command, args, options = {}) {
  const result = spawnSync(command, args, { encoding: 'utf8', maxBuffer: 1 << 26, ...options })
  return result.status === 0 ? result.stdout.trimEnd() : undefined
}

/** Returns the SHA-256 of a file or of bytes, in hexadecimal. */
export function sha256(fileOrBytes) {
  const bytes = typeof fileOrBytes === 'string' ? readFileSync(fileOrBytes) : fileOrBytes
  return createHash('sha256').update(bytes).digest('hex')
}

/**
 * Fills a new folder and then gives it its name, so that a run that was interrupted leaves nothing that looks
 * complete.
 *
 * @param {string} folder
 * @param {(temporary: string) => void} fill
 */
export function fillFolder(folder, fill) {
  const temporary = `${folder}.partial`
  rmSync(temporary, { recursive: true, force: true })
  mkdirSync(temporary, { recursive: true })
  fill(temporary)
  rmSync(folder, { recursive: true, force: true })
  renameSync(temporary, folder)
}
