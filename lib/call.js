'use strict'

const native = require('./native.js')
const { invalidConfig, errorClasses } = require('./errors.js')
const { describe, isPlain } = require('./plain.js')

/** Splits an options object into `signal` and the rest. */
function splitOptions(options) {
  if (options === undefined || options === null) {
    return { signal: undefined, rest: {} }
  }
  if (!isPlain(options)) {
    throw invalidConfig('options', `expected an object, got ${describe(options)}`)
  }
  // The copy comes first: V8 reads a getter that is named beside a rest pattern twice, if the object has slow
  // properties.
  const { signal, ...rest } = { ...options }
  if (signal !== undefined && signal !== null && !isSignal(signal)) {
    throw invalidConfig('signal', 'expected an AbortSignal')
  }
  return { signal: signal ?? undefined, rest }
}

/** Whether a value is an `AbortSignal` of any realm, or an imitation, as `fs.promises` accepts. */
const isSignal = (value) => typeof value === 'object' && 'aborted' in value

/** Returns why a signal was aborted. Old polyfills have no reason. */
function reasonOf(signal) {
  return signal.reason === undefined
    ? new DOMException('This operation was aborted', 'AbortError')
    : signal.reason
}

/** Does what the standard's `signal.throwIfAborted()` does, which some polyfills lack. */
function throwIfAborted(signal) {
  if (signal?.aborted) {
    throw reasonOf(signal)
  }
}

/** Returns the signal of an options object that allows no other option. */
function onlySignal(options) {
  const { signal, rest } = splitOptions(options)
  for (const name of Object.keys(rest)) {
    throw invalidConfig(name, 'there is no such option here; the only one is: signal')
  }
  return signal
}

/**
 * The cancellations of each signal. A signal has one listener, because operations share signals, and Node.js warns
 * of more than ten listeners.
 */
const listeningBySignal = new WeakMap()

/** Makes `signal` cancel `cancellation` until the returned function is called. */
function cancelWith(signal, cancellation) {
  let listening = listeningBySignal.get(signal)
  if (listening === undefined) {
    const cancellations = new Set()
    const listener = () => cancellations.forEach((each) => each.cancel())
    listening = { cancellations, listener }
    listeningBySignal.set(signal, listening)
    signal.addEventListener?.('abort', listener, { once: true })
  }
  const { cancellations, listener } = listening
  cancellations.add(cancellation)
  return () => {
    cancellations.delete(cancellation)
    if (cancellations.size === 0) {
      signal.removeEventListener?.('abort', listener)
      listeningBySignal.delete(signal)
    }
  }
}

/**
 * Runs one native operation. A signal that fires before the commit point undoes the operation, and the promise
 * rejects with its reason. A signal that fires later has no effect, and the operation completes.
 *
 * Callers write `return await`: an error may come before a promise that is only returned is linked to its caller, and
 * the stack would end there.
 */
async function call(signal, start) {
  throwIfAborted(signal)
  const cancellation = signal && new native.Cancellation()
  const stopListening = cancellation && cancelWith(signal, cancellation)
  try {
    return await start(cancellation)
  } catch (error) {
    // An error of a getter of the options is passed on unchanged.
    if (error instanceof errorClasses.VolumeError) {
      if (error.code === 'ERR_ABORTED' && signal?.aborted) {
        throw reasonOf(signal)
      }
      // The error was created where the work ended. Its stack must show the caller.
      Error.captureStackTrace(error, call)
    }
    throw error
  } finally {
    stopListening?.()
  }
}

module.exports = { call, cancelWith, onlySignal, reasonOf, splitOptions, throwIfAborted }
