'use strict'

const fs = require('node:fs')
const path = require('node:path')
const { version } = require('../package.json')
const { makeError } = require('./errors.js')

/** The environment variable that names the file of an addon to use instead of the installed one. */
const OVERRIDE = 'SANDBOX_VOLUMES_ADDON'

/**
 * The package of each platform, and how to load its addon and its manifest. The names are literal, so that bundlers and
 * packers find them.
 */
const PACKAGES = {
  'linux-x64-gnu': {
    addon: () => require('sandbox-volumes-linux-x64-gnu'),
    manifest: () => require('sandbox-volumes-linux-x64-gnu/package.json'),
  },
  'linux-x64-musl': {
    addon: () => require('sandbox-volumes-linux-x64-musl'),
    manifest: () => require('sandbox-volumes-linux-x64-musl/package.json'),
  },
  'linux-arm64-gnu': {
    addon: () => require('sandbox-volumes-linux-arm64-gnu'),
    manifest: () => require('sandbox-volumes-linux-arm64-gnu/package.json'),
  },
  'linux-arm64-musl': {
    addon: () => require('sandbox-volumes-linux-arm64-musl'),
    manifest: () => require('sandbox-volumes-linux-arm64-musl/package.json'),
  },
}

/** The loader that each program for musl names. */
const MUSL_LOADERS = { x64: '/lib/ld-musl-x86_64.so.1', arm64: '/lib/ld-musl-aarch64.so.1' }

/** How many bytes of a program or library are read: more than the first header. */
const HEAD_BYTES = 1024

/** The type of the program header that says where the name of the loader is. */
const PT_INTERP = 3

/**
 * Returns the C libraries that this process may use, the likely one first. It looks for a file, because a report of
 * the process takes 10 ms or more.
 */
function possibleLibcs() {
  const loader = MUSL_LOADERS[process.arch]
  // Both C libraries may be on one system. Then the program of this process shows which one it uses.
  const usesMusl = loader !== undefined && isThere(loader) && isRunBy(loader)
  // On musl, a shim for programs of glibc would let the other addon load, and fail later.
  return usesMusl ? ['musl'] : ['gnu', 'musl']
}

/** Whether a file exists, and this process may look at it. */
function isThere(file) {
  try {
    return fs.existsSync(file)
  } catch {
    return false
  }
}

/** Whether the program of this process names `loader`. Returns false if the program cannot be read. */
function isRunBy(loader) {
  try {
    return interpreterOf(process.execPath) === loader
  } catch {
    return false
  }
}

/** Returns what an ELF program names as its loader. Tools that edit programs move the name far into the file. */
function interpreterOf(file) {
  const descriptor = fs.openSync(file)
  try {
    const head = Buffer.alloc(HEAD_BYTES)
    fs.readSync(descriptor, head)
    const [size, count] = [head.readUInt16LE(54), head.readUInt16LE(56)]
    const table = Buffer.alloc(size * count)
    fs.readSync(descriptor, table, 0, table.length, head.readUIntLE(32, 6))
    const headers = Array.from({ length: count }, (_, at) => table.subarray(at * size, (at + 1) * size))
    const header = headers.find((each) => each.readUInt32LE(0) === PT_INTERP)
    const name = Buffer.alloc(header.readUIntLE(32, 6))
    fs.readSync(descriptor, name, 0, name.length, header.readUIntLE(8, 6))
    return name.toString('latin1', 0, name.length - 1)
  } finally {
    fs.closeSync(descriptor)
  }
}

/** Returns the first bytes of a file, followed by zeros if it is shorter, and its size. */
function headOf(file) {
  const descriptor = fs.openSync(file)
  try {
    const bytes = Buffer.alloc(HEAD_BYTES)
    fs.readSync(descriptor, bytes)
    return { bytes, size: fs.fstatSync(descriptor).size }
  } finally {
    fs.closeSync(descriptor)
  }
}

/**
 * Throws if the end of an addon is missing: the linker would not notice, and the process would be killed by SIGBUS.
 * `locate` returns the file. One that cannot be read is not checked.
 */
function rejectTruncated(locate) {
  let file, head
  try {
    file = locate()
    head = headOf(file)
  } catch {
    return
  }
  const { bytes, size } = head
  const isElf64 = bytes.readUInt32BE(0) === 0x7f454c46 && bytes[4] === 2
  // The table of sections is the last thing in the file: its offset, and the size and number of its entries.
  const needed = bytes.readUIntLE(40, 6) + bytes.readUInt16LE(58) * bytes.readUInt16LE(60)
  if (isElf64 && size < needed) {
    throw new Error(`"${file}" is cut off: it has ${size} of ${needed} bytes`)
  }
}

/** Yields the places of the addon: a file, or a package. */
function* candidates() {
  const override = process.env[OVERRIDE]
  if (override) {
    yield { file: path.resolve(override) }
    return
  }
  for (const libc of possibleLibcs()) {
    const platform = `${process.platform}-${process.arch}-${libc}`
    const built = path.join(__dirname, '..', `sandbox-volumes.${platform}.node`)
    if (isThere(built)) {
      yield { file: built }
    }
    if (Object.hasOwn(PACKAGES, platform)) {
      yield { packageName: `sandbox-volumes-${platform}`, ...PACKAGES[platform] }
    }
  }
}

/** Loads the addon from a file, or from a package of the version of this one. */
function loadFrom({ file, packageName, addon, manifest }) {
  if (file !== undefined) {
    rejectTruncated(() => file)
    return require(file)
  }
  const { version: found } = manifest()
  if (found !== version) {
    throw Object.assign(new Error(`It has version ${found}, and sandbox-volumes has version ${version}`), { found })
  }
  rejectTruncated(() => require.resolve(packageName))
  return addon()
}

/** Loads the addon from the first place where there is one. */
function load() {
  const attempts = []
  try {
    for (const candidate of candidates()) {
      try {
        return loadFrom(candidate)
      } catch (error) {
        attempts.push({ ...candidate, error })
      }
    }
  } catch (error) {
    // Deno may forbid to read the environment.
    attempts.push({ error })
  }
  const { explainLoadFailure } = require('./load-failure.js')
  throw explainLoadFailure(attempts, { override: OVERRIDE, platforms: Object.keys(PACKAGES) })
}

const native = load()
native.connect(makeError)

module.exports = native
