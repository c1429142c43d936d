'use strict'

const native = require('./native.js')
const { invalidConfig } = require('./errors.js')

/** Splits `{ signal, ...rest }`, the shape of every options object. */
function splitOptions(options) {
  if (options === undefined || options === null) {
    return { signal: undefined, rest: {} }
  }
  if (typeof options !== 'object' || Array.isArray(options)) {
    throw invalidConfig('options', `expected an object, got ${typeof options}`)
  }
  const { signal, ...rest } = options
  if (signal !== undefined && signal !== null && !(signal instanceof AbortSignal)) {
    throw invalidConfig('signal', 'expected an AbortSignal')
  }
  return { signal: signal ?? undefined, rest }
}

/** The signal of an options object that may hold nothing else. */
function onlySignal(options) {
  const { signal, rest } = splitOptions(options)
  for (const name of Object.keys(rest)) {
    throw invalidConfig(name, 'there is no such option here; the only one is: signal')
  }
  return signal
}

/**
 * Runs one native operation. A signal that fires before the operation's point of no return undoes it, and the
 * promise rejects with the signal's reason; one that fires later comes too late, and the operation completes.
 */
async function call(signal, start) {
  signal?.throwIfAborted()
  const cancellation = signal && new native.Cancellation()
  const cancel = () => cancellation.cancel()
  signal?.addEventListener('abort', cancel, { once: true })
  try {
    return await start(cancellation)
  } catch (error) {
    if (error.code === 'ERR_ABORTED' && signal?.aborted) {
      throw signal.reason
    }
    // The error was made where the work ended; its stack is to show who asked for it.
    Error.captureStackTrace(error, call)
    throw error
  } finally {
    signal?.removeEventListener('abort', cancel)
  }
}

module.exports = { call, onlySignal, splitOptions }
