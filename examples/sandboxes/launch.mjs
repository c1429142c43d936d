import { spawnSync } from 'node:child_process'

const MAX_RUN_MS = 180_000

/**
 * Runs a sandbox until it ends, with `descriptors` after its standard error. Kills it if it takes too long. Always
 * calls `dispose` last.
 */
export function launch({ file, args, descriptors = [], dispose }) {
  try {
    const stdio = ['pipe', 'pipe', 'pipe', ...descriptors]
    const options = { encoding: 'utf8', input: '', stdio, timeout: MAX_RUN_MS, killSignal: 'SIGKILL' }
    const { status, stdout, stderr, error } = spawnSync(file, args, options)
    if (error) {
      throw error
    }
    return { status, stdout, stderr }
  } finally {
    dispose?.()
  }
}
