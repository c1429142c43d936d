'use strict'

const { VolumeError } = require('./errors.js').errorClasses

/** The platforms that have a package, and their architectures. */
const SUPPORTED = { linux: ['x64', 'arm64'] }

/**
 * Creates the error of an addon that did not load, with the cause and what to do. `failure` is what native.js
 * threw. Its causes are the errors of each attempt, the last one first, with their messages only.
 */
function explainLoadFailure(failure) {
  const attempts = causesOf(failure)
  const { problem, cause } = diagnose(attempts)
  const error = new VolumeError(`The native addon of sandbox-volumes was not loaded: ${problem}`, 'ERR_ADDON_NOT_LOADED')
  if (cause !== undefined) {
    Object.defineProperty(error, 'cause', { value: cause, configurable: true, writable: true })
  }
  return error
}

function causesOf(failure) {
  const causes = []
  for (let cause = failure.cause; cause instanceof Error; cause = cause.cause) {
    causes.unshift(new Error(cause.message))
  }
  return causes
}

/** Finds the first known cause among the attempts. */
function diagnose(attempts) {
  const isOverridden = Boolean(process.env.NAPI_RS_NATIVE_LIBRARY_PATH)
  if (!isOverridden && !SUPPORTED[process.platform]?.includes(process.arch)) {
    return { problem: unsupported() }
  }
  for (const explain of [addonsDisabled, readingDenied, ffiDenied, oldGlibc, otherLibc, notExecutable]) {
    for (const cause of attempts) {
      const problem = explain(cause.message)
      if (problem !== undefined) {
        return { problem, cause }
      }
    }
  }
  const found = attempts.find((attempt) => !isMissing(attempt))
  if (found !== undefined) {
    const hint = 'Install the package again; a file that is damaged or of another version is replaced by that.'
    return { problem: `${found.message}. ${hint}`, cause: found }
  }
  return { problem: isOverridden ? missingOverride() : missingPackage(attempts), cause: attempts[0] }
}

function unsupported() {
  const supported = Object.entries(SUPPORTED).map(([platform, archs]) => `${platform} on ${archs.join(' and ')}`)
  return `there is none for ${process.platform} on ${process.arch}. It runs on ${supported.join(', ')}.`
}

function addonsDisabled(message) {
  if (!message.includes('loading addons is disabled')) {
    return undefined
  }
  return process.permission === undefined
    ? 'Node.js was started with --no-addons. Start it without that option.'
    : "Node's permission model forbids addons. Start Node.js with --allow-addons as well."
}

function readingDenied(message) {
  if (!message.includes('Access to this API has been restricted')) {
    return undefined
  }
  return (
    "Node's permission model forbids to read it. Start Node.js with --allow-addons, and with --allow-fs-read for " +
    'the directory "node_modules".'
  )
}

function ffiDenied(message) {
  return message.includes('--allow-ffi')
    ? 'Deno forbids addons. Start it with --allow-ffi, --allow-read, --allow-env and --allow-sys.'
    : undefined
}

function oldGlibc(message) {
  const needed = /version `GLIBC_([\d.]+)' not found/.exec(message)?.[1]
  if (needed === undefined) {
    return undefined
  }
  const here = glibcVersion()
  const found = here === undefined ? 'an older one' : here
  return `it needs glibc ${needed}, and this system has ${found}. Use a newer system or container image.`
}

function otherLibc(message) {
  const isForMusl = /(libc\.musl-|ld-musl-)\S*: cannot open/.test(message)
  if (!isForMusl && !/Error relocating|Error loading shared library/.test(message)) {
    return undefined
  }
  const [needed, here] = isForMusl ? ['musl', 'glibc'] : ['glibc', 'musl']
  return (
    `what is installed is for ${needed}, and this system has ${here} (${message.trim()}). Install sandbox-volumes on ` +
    'this system, not by copying node_modules from another.'
  )
}

function notExecutable(message) {
  return message.includes('failed to map segment from shared object')
    ? 'it lies where nothing may be executed, on a file system mounted with noexec. Install it elsewhere.'
    : undefined
}

const isMissing = ({ message }) => message.startsWith('Cannot find ')

function missingOverride() {
  const given = JSON.stringify(process.env.NAPI_RS_NATIVE_LIBRARY_PATH)
  return `the environment variable NAPI_RS_NATIVE_LIBRARY_PATH names ${given}, and there is nothing.`
}

function missingPackage(attempts) {
  const names = attempts.map(({ message }) => /'(sandbox-volumes-linux-[\w-]+)'/.exec(message)?.[1])
  const libc = glibcVersion() === undefined ? 'musl' : 'gnu'
  const name = names.find((each) => each !== undefined) ?? `sandbox-volumes-linux-${process.arch}-${libc}`
  return (
    `the package "${name}", which holds it for this platform, is not installed. It is an optional dependency: ` +
    'install sandbox-volumes on this platform, without --omit=optional, --no-optional or --ignore-optional.'
  )
}

/** Returns the version of the glibc of this process, or undefined if it uses another libc. */
function glibcVersion() {
  try {
    return process.report.getReport().header.glibcVersionRuntime
  } catch {
    return undefined
  }
}

module.exports = { explainLoadFailure }
