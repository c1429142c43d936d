'use strict'

const native = require('./native.js')
const { invalidConfig, errorClasses } = require('./errors.js')
const { describe, isPlain } = require('./plain.js')

/** Splits `{ signal, ...rest }`, the shape of every options object. */
function splitOptions(options) {
  if (options === undefined || options === null) {
    return { signal: undefined, rest: {} }
  }
  if (!isPlain(options)) {
    throw invalidConfig('options', `expected an object, got ${describe(options)}`)
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

/** What a signal cancels: one listener each, for Node warns of more than ten and operations share signals. */
const listened = new WeakMap()

/** Has `signal` cancel until the function that is returned is called. */
function cancelWith(signal, cancellation) {
  let listening = listened.get(signal)
  if (listening === undefined) {
    const cancellations = new Set()
    const listener = () => cancellations.forEach((each) => each.cancel())
    listening = { cancellations, listener }
    listened.set(signal, listening)
    signal.addEventListener('abort', listener, { once: true })
  }
  const { cancellations, listener } = listening
  cancellations.add(cancellation)
  return () => {
    cancellations.delete(cancellation)
    if (cancellations.size === 0) {
      signal.removeEventListener('abort', listener)
      listened.delete(signal)
    }
  }
}

/**
 * Runs one native operation. A signal that fires before the operation's point of no return undoes it, and the
 * promise rejects with the signal's reason; one that fires later comes too late, and the operation completes.
 */
async function call(signal, start) {
  signal?.throwIfAborted()
  const cancellation = signal && new native.Cancellation()
  const forget = cancellation && cancelWith(signal, cancellation)
  try {
    return await start(cancellation)
  } catch (error) {
    // What an option's own getter threw is not ours to touch.
    if (error instanceof errorClasses.VolumeError) {
      if (error.code === 'ERR_ABORTED' && signal?.aborted) {
        throw signal.reason
      }
      // The error was made where the work ended; its stack is to show who asked for it.
      Error.captureStackTrace(error, call)
    }
    throw error
  } finally {
    forget?.()
  }
}

module.exports = { call, cancelWith, onlySignal, splitOptions }
