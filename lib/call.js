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
  // Copied first: V8 reads a getter twice that is named beside the rest, of an object with slow properties.
  const { signal, ...rest } = { ...options }
  if (signal !== undefined && signal !== null && !isSignal(signal)) {
    throw invalidConfig('signal', 'expected an AbortSignal')
  }
  return { signal: signal ?? undefined, rest }
}

/** Whether a value is an `AbortSignal` of any realm, or an imitation, as `fs.promises` takes them. */
const isSignal = (value) => typeof value === 'object' && 'aborted' in value

/** Why a signal was aborted; polyfills of the time before there were reasons have none. */
function reasonOf(signal) {
  return signal.reason === undefined
    ? new DOMException('This operation was aborted', 'AbortError')
    : signal.reason
}

/** The standard's `signal.throwIfAborted()`, which some polyfills lack. */
function throwIfAborted(signal) {
  if (signal?.aborted) {
    throw reasonOf(signal)
  }
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
    signal.addEventListener?.('abort', listener, { once: true })
  }
  const { cancellations, listener } = listening
  cancellations.add(cancellation)
  return () => {
    cancellations.delete(cancellation)
    if (cancellations.size === 0) {
      signal.removeEventListener?.('abort', listener)
      listened.delete(signal)
    }
  }
}

/**
 * Runs one native operation. A signal that fires before the operation's point of no return undoes it, and the
 * promise rejects with the signal's reason; one that fires later comes too late, and the operation completes.
 */
async function call(signal, start) {
  throwIfAborted(signal)
  const cancellation = signal && new native.Cancellation()
  const forget = cancellation && cancelWith(signal, cancellation)
  try {
    return await start(cancellation)
  } catch (error) {
    // What an option's own getter threw is not ours to touch.
    if (error instanceof errorClasses.VolumeError) {
      if (error.code === 'ERR_ABORTED' && signal?.aborted) {
        throw reasonOf(signal)
      }
      // The error was made where the work ended; its stack is to show who asked for it.
      Error.captureStackTrace(error, call)
    }
    throw error
  } finally {
    forget?.()
  }
}

module.exports = { call, cancelWith, onlySignal, reasonOf, splitOptions, throwIfAborted }
