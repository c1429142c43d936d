'use strict'

const native = require('./native.js')
const { invalidConfig } = require('./errors.js')
const { call, splitOptions } = require('./call.js')
const { describe } = require('./plain.js')

/** How often progress is told at most, in milliseconds. */
const PROGRESS_EVERY = 50

/** Copies without asking or telling anybody. */
async function copy(signal, prepare) {
  await call(signal, (cancellation) => prepare(cancellation).advance([], true))
}

/**
 * Copies between a volume and the host. `prepare` is given what is not for this side of the options, whether there
 * is a filter, and a cancellation.
 */
async function transfer(options, prepare) {
  const { signal, rest } = splitOptions(options)
  const { onProgress, filter, ...settings } = rest
  optionalFunction('onProgress', onProgress)
  optionalFunction('filter', filter)
  return call(signal, async (cancellation = new native.Cancellation()) => {
    const job = prepare(settings, Boolean(filter), cancellation)
    const callbacks = new Callbacks(cancellation)
    const tell = onProgress ? progressTeller(job, onProgress) : undefined
    const timer = tell && setInterval(() => callbacks.run(tell), PROGRESS_EVERY)
    const commits = !onProgress && !filter
    try {
      await advance(job, commits, (entries) =>
        callbacks.run(() => entries.map((entry) => decide(filter, entry))),
      )
      if (!commits) {
        // What a callback throws before the commit point undoes the copy, so the last one is called before it.
        clearInterval(timer)
        callbacks.run(tell)
        await job.commit()
      }
    } catch (error) {
      callbacks.rethrow()
      throw error
    } finally {
      clearInterval(timer)
    }
    const { files, bytes, skippedLinks } = job.tally()
    return { files, bytes, skippedLinks }
  })
}

/** Advances a copy to its commit point, or past it. */
async function advance(job, commits, ask) {
  let decisions = []
  for (;;) {
    const entries = await job.advance(decisions, commits)
    if (entries === null) {
      return
    }
    decisions = ask(entries) ?? []
  }
}

/** Runs the caller's functions: the first that throws ends the copy, and what it threw is what the caller gets. */
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

/** Tells what changed since it was told last. */
function progressTeller(job, onProgress) {
  let lastReported
  return () => {
    const { files, bytes, path } = job.tally()
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
