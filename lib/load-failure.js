'use strict'

const fs = require('node:fs')
const { VolumeError } = require('./errors.js').errorClasses

const REINSTALL = 'Install sandbox-volumes on this machine, not by copying node_modules from another.'

/** The architectures of addons, keyed by `e_machine` of an ELF file. */
const MACHINES = { 3: 'ia32', 40: 'arm', 62: 'x64', 183: 'arm64', 243: 'riscv64' }

/**
 * Creates the error of an addon that did not load, with the cause and what to do.
 *
 * Each attempt has the `file` or the `packageName` that was tried, and the `error`. `override` is the name of the
 * environment variable that names an addon, and `platforms` are those that have a package.
 */
function explainLoadFailure(attempts, { override, platforms }) {
  const { problem, cause } = diagnose(attempts, override, platforms)
  const error = new VolumeError(`The native addon of sandbox-volumes was not loaded: ${problem}`, 'ERR_ADDON_NOT_LOADED')
  if (cause !== undefined) {
    // Only the message. The other properties of the error may blame npm.
    Object.defineProperty(error, 'cause', { value: new Error(cause.message), configurable: true, writable: true })
  }
  return error
}

/** Returns an environment variable, or undefined if this process may not read it. */
function variable(name) {
  try {
    return process.env[name]
  } catch {
    return undefined
  }
}

/** Finds the first known cause among the attempts. */
function diagnose(attempts, override, platforms) {
  const isOverridden = Boolean(variable(override))
  const supported = platforms.filter((platform) => platform.startsWith(`${process.platform}-${process.arch}-`))
  if (!isOverridden && supported.length === 0) {
    return { problem: unsupported(platforms) }
  }
  for (const attempt of attempts.filter(({ error }) => !isMissing(error))) {
    for (const explain of EXPLANATIONS) {
      const problem = explain(attempt)
      if (problem !== undefined) {
        return { problem, cause: attempt.error }
      }
    }
  }
  const problem = isOverridden ? missingOverride(override) : missingPackage(attempts, supported)
  return { problem, cause: attempts[0]?.error }
}

const isMissing = ({ code, message }) => code === 'MODULE_NOT_FOUND' || message.startsWith('Cannot find ')

function unsupported(platforms) {
  const names = new Set(platforms.map((platform) => platform.split('-').slice(0, 2).join(' on ')))
  return `there is none for ${process.platform} on ${process.arch}. There is one for ${[...names].join(' and ')}.`
}

/**
 * The known problems, in the order in which they are looked for. Each function returns the text of its problem, or
 * undefined if the attempt has another one.
 */
const EXPLANATIONS = [
  otherVersion,
  addonsDisabled,
  readingDenied,
  deniedByDeno,
  oldGlibc,
  notExecutable,
  notPermitted,
  otherMachine,
  otherLibc,
  oldMusl,
  damaged,
]

function otherVersion({ error, packageName }) {
  if (error.found === undefined) {
    return undefined
  }
  return (
    `the package "${packageName}" is of another version. ${error.message}. Install sandbox-volumes again; if the ` +
    'versions still differ, delete the lockfile and node_modules before.'
  )
}

function addonsDisabled({ error }) {
  if (!error.message.includes('loading addons is disabled')) {
    return undefined
  }
  return process.permission === undefined
    ? 'Node.js was started with --no-addons. Start it without that option.'
    : "Node's permission model forbids addons. Start Node.js with --allow-addons as well."
}

function readingDenied({ error }) {
  if (!error.message.includes('Access to this API has been restricted')) {
    return undefined
  }
  return (
    "Node's permission model forbids to read it. Start Node.js with --allow-addons, and with --allow-fs-read for " +
    'the directory "node_modules".'
  )
}

function deniedByDeno({ error }) {
  return /--allow-(?:ffi|read|env|sys)/.test(error.message)
    ? 'Deno forbids addons. Start it with --allow-ffi, --allow-read, --allow-env and --allow-sys.'
    : undefined
}

function oldGlibc({ error }) {
  const needed = /version `GLIBC_([\d.]+)' not found/.exec(error.message)?.[1]
  if (needed === undefined) {
    return undefined
  }
  const found = glibcVersion() ?? 'an older one'
  return `it needs glibc ${needed}, and this system has ${found}. Use a newer system or container image.`
}

/** Returns the version of the glibc of this process, or undefined if the process does not know it. */
function glibcVersion() {
  try {
    return process.report.getReport().header.glibcVersionRuntime
  } catch {
    return undefined
  }
}

function notExecutable({ error }) {
  // The words of glibc, then those of musl.
  const isDenied = /failed to map segment from shared object|Error loading shared library [^(]*: Operation not permitted/
  return isDenied.test(error.message)
    ? 'it lies where nothing may be executed, on a file system mounted with noexec. Install it elsewhere.'
    : undefined
}

function notPermitted({ error }) {
  return /: Permission denied/.test(error.message)
    ? `this user may not read it (${error.message.trim()}). Make node_modules readable for the user of this process.`
    : undefined
}

/** The linkers report a file for another machine as one that does not exist, or not at all clearly. */
function otherMachine(attempt) {
  const file = fileOf(attempt)
  const found = file && machineOf(file)
  return found === undefined || found === process.arch
    ? undefined
    : `"${file}" is for ${found}, and this process is for ${process.arch}. ${REINSTALL}`
}

/** Returns the file of an attempt, or undefined if it is not known. */
function fileOf({ file, packageName }) {
  try {
    return file ?? require.resolve(packageName)
  } catch {
    return undefined
  }
}

/** Returns the architecture or system that a program or library is for, or undefined if it is neither. */
function machineOf(file) {
  const head = Buffer.alloc(20)
  try {
    const descriptor = fs.openSync(file)
    try {
      fs.readSync(descriptor, head)
    } finally {
      fs.closeSync(descriptor)
    }
  } catch {
    return undefined
  }
  if (head.readUInt32BE(0) === 0x7f454c46) {
    const machine = head.readUInt16LE(18)
    return MACHINES[machine] ?? `machine ${machine} of ELF`
  }
  if ([0xcffaedfe, 0xcafebabe].includes(head.readUInt32BE(0))) {
    return 'macOS'
  }
  return head.toString('latin1', 0, 2) === 'MZ' ? 'Windows' : undefined
}

function otherLibc(attempt) {
  const { message } = attempt.error
  const isForMusl = /(?:libc\.musl-|ld-musl-|\blibc\.so:)\S* (?:cannot open|invalid ELF)/.test(message)
  const isForGlibc =
    /Error loading shared library [^(]*\(needed by/.test(message) ||
    (/Error relocating/.test(message) && usesGlibc(fileOf(attempt)))
  if (!isForMusl && !isForGlibc) {
    return undefined
  }
  const [needed, here] = isForMusl ? ['musl', 'glibc'] : ['glibc', 'musl']
  return `what is installed is for ${needed}, and this system has ${here} (${message.trim()}). ${REINSTALL}`
}

/** Whether a library names glibc. A library for musl has the same symbols, and does not. */
function usesGlibc(file) {
  try {
    return fs.readFileSync(file).includes('libc.so.6')
  } catch {
    return false
  }
}

function oldMusl({ error }) {
  const symbol = /Error relocating \S+: (\w+): symbol not found/.exec(error.message)?.[1]
  return symbol === undefined
    ? undefined
    : `the musl of this system has no "${symbol}". Use a newer system or container image.`
}

function damaged({ error }) {
  return `${error.message.trim()}. Install the package again, which replaces a damaged file.`
}

function missingOverride(override) {
  return `the environment variable ${override} names ${JSON.stringify(variable(override))}, and there is nothing.`
}

/** Explains that the packages of this platform are missing. `supported` are the platforms of this architecture. */
function missingPackage(attempts, supported) {
  const names = attempts.map(({ packageName }) => packageName).filter((name) => name !== undefined)
  const unfinished = names.find(isInstalled)
  if (unfinished !== undefined) {
    return `the package "${unfinished}" is installed, and the addon in it is missing. Install it again.`
  }
  const others = supported.map((platform) => `sandbox-volumes-${platform}`).filter((name) => !names.includes(name))
  const other = others.find(isInstalled)
  if (other !== undefined) {
    return `the package "${other}" is installed, and this system needs "${names[0]}". ${REINSTALL}`
  }
  return (
    `the package "${names[0]}", which holds it for this platform, is not installed. It is an optional dependency. ` +
    'If such were left out, install again without --omit=optional, --no-optional or --ignore-optional. If ' +
    'node_modules or the lockfile is of another platform, delete both and install again on this one.'
  )
}

function isInstalled(packageName) {
  try {
    return require.resolve(`${packageName}/package.json`) !== undefined
  } catch {
    return false
  }
}

module.exports = { explainLoadFailure }
