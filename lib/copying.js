'use strict'

const native = require('./native.js')
const { invalidConfig } = require('./errors.js')
const { call, splitOptions } = require('./call.js')
const { describe } = require('./plain.js')

/** The least time between two calls of `onProgress`, in milliseconds. */
const PROGRESS_INTERVAL_MS = 50

/** Copies without callbacks. */
async function copy(signal, prepare) {
  await call(signal, (cancellation) => prepare(cancellation).advance([], true))
}

/**
 * Copies between a volume and the host. `prepare` gets the options for the native side, whether there is a filter,
 * and a cancellation.
 */
async function transfer(options, prepare) {
  const { signal, rest } = splitOptions(options)
  const { onProgress, filter, ...settings } = rest
  optionalFunction('onProgress', onProgress)
  optionalFunction('filter', filter)
  return await call(signal, async (cancellation = new native.Cancellation()) => {
    const job = prepare(settings, Boolean(filter), cancellation)
    const callbacks = new Callbacks(cancellation)
    const report = onProgress ? progressReporter(job, onProgress) : undefined
    const timer = report && setInterval(() => callbacks.run(report), PROGRESS_INTERVAL_MS)
    const commits = !onProgress && !filter
    try {
      await advance(job, commits, (entries) =>
        callbacks.run(() => entries.map((entry) => decide(filter, entry))),
      )
      if (!commits) {
        // An error of a callback before the commit point undoes the copy, so the last call comes before it.
        clearInterval(timer)
        callbacks.run(report)
        await job.commit()
      }
    } catch (error) {
      callbacks.rethrow()
      throw error
    } finally {
      clearInterval(timer)
    }
    const { files, bytes, skippedLinks } = job.progress()
    return { files, bytes, skippedLinks }
  })
}

/** Advances a copy to its commit point, or past it if `commits` is true. */
async function advance(job, commits, decideEach) {
  let decisions = []
  for (;;) {
    const entries = await job.advance(decisions, commits)
    if (entries === null) {
      return
    }
    decisions = decideEach(entries) ?? []
  }
}

/** Runs the functions of the caller. The first error ends the copy, and becomes the error of the copy. */
class Callbacks {
  #cancellation
  #thrown

  constructor(cancellation) {
    this.#cancellation = cancellation
  }

  run(callback) {
    if (this.#thrown !== undefined || callback === undefined) {
      return undefined
    }
    try {
      return callback()
    } catch (error) {
      this.#thrown = { error }
      this.#cancellation.cancel()
      return undefined
    }
  }

  rethrow() {
    if (this.#thrown !== undefined) {
      throw this.#thrown.error
    }
  }
}

/** Returns a function that calls `onProgress` if there is progress since the last call. */
function progressReporter(job, onProgress) {
  let lastReported
  return () => {
    const { files, bytes, path } = job.progress()
    if (lastReported === undefined || lastReported.files !== files || lastReported.bytes !== bytes) {
      lastReported = { files, bytes }
      onProgress({ files, bytes, path })
    }
  }
}

function decide(filter, { path, kind }) {
  const answer = filter(path, kind)
  if (typeof answer !== 'boolean') {
    throw invalidConfig('filter', `expected it to return true or false at once, got ${describe(answer)}`)
  }
  return answer
}

function optionalFunction(name, value) {
  if (value !== undefined && value !== null && typeof value !== 'function') {
    throw invalidConfig(name, `expected a function, got ${describe(value)}`)
  }
}

module.exports = { copy, transfer }
