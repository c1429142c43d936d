import { spawnSync } from 'node:child_process'

const LONGEST_RUN_MS = 30_000

/** Runs a sandbox to its end. It is killed if it takes too long, and `dispose` always has the last word. */
export function launch({ file, args, dispose }) {
  try {
    const options = { encoding: 'utf8', input: '', timeout: LONGEST_RUN_MS, killSignal: 'SIGKILL' }
    const { status, stdout, stderr, error } = spawnSync(file, args, options)
    if (error) {
      throw error
    }
    return { status, stdout, stderr }
  } finally {
    dispose?.()
  }
}
