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

/** The size of the header of an ELF file. */
const ELF_HEADER_BYTES = 64

/** What begins the header of a 64-bit ELF file. */
const ELF_MAGIC = 0x7f454c46
const ELF_CLASS_64 = 2

/** The architectures that have an addon, as `e_machine` of an ELF file numbers them. */
const ELF_MACHINES = { x64: 62, arm64: 183 }

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
    return withFile(process.execPath, interpreterOf) === loader
  } catch {
    return false
  }
}

/** Returns what an ELF program names as its loader. Tools that edit programs move the name far into the file. */
function interpreterOf(descriptor) {
  const head = Buffer.alloc(ELF_HEADER_BYTES)
  fs.readSync(descriptor, head)
  const [size, count] = [head.readUInt16LE(54), head.readUInt16LE(56)]
  const table = Buffer.alloc(size * count)
  fs.readSync(descriptor, table, 0, table.length, head.readUIntLE(32, 6))
  const headers = Array.from({ length: count }, (_, at) => table.subarray(at * size, (at + 1) * size))
  const header = headers.find((each) => each.readUInt32LE(0) === PT_INTERP)
  const name = Buffer.alloc(header.readUIntLE(32, 6))
  fs.readSync(descriptor, name, 0, name.length, header.readUIntLE(8, 6))
  return name.toString('latin1', 0, name.length - 1)
}

/** Opens a file for `use`, and closes it after. */
function withFile(file, use) {
  const descriptor = fs.openSync(file)
  try {
    return use(descriptor)
  } finally {
    fs.closeSync(descriptor)
  }
}

/**
 * Throws if a library could load and then end the process: one that is cut off by SIGBUS, and with musl, which does not
 * look, one for another processor or system by SIGILL. `locate` returns the file. One that cannot be read is not checked.
 */
function rejectUnusable(locate) {
  let file
  let fault
  try {
    file = locate()
    fault = withFile(file, faultOf)
  } catch {
    // The attempt to load it says why.
  }
  if (fault !== undefined) {
    throw new Error(`${fault} "${file}"`)
  }
}

/** Returns the fault of an open library, or undefined. The end of a 64-bit ELF file is the table of its sections. */
function faultOf(descriptor) {
  const header = new DataView(new ArrayBuffer(ELF_HEADER_BYTES))
  if (fs.readSync(descriptor, header) < ELF_HEADER_BYTES) {
    return undefined
  }
  if (header.getUint32(0) !== ELF_MAGIC || header.getUint8(4) !== ELF_CLASS_64) {
    return 'no 64-bit library for Linux is in the file'
  }
  if (header.getUint16(18, true) !== ELF_MACHINES[process.arch]) {
    return 'another processor is named by the file'
  }
  // The offset of the table, and the size and number of its entries.
  const end = Number(header.getBigUint64(40, true)) + header.getUint16(58, true) * header.getUint16(60, true)
  const isCutOff = end > 0 && fs.readSync(descriptor, new Uint8Array(1), 0, 1, end - 1) === 0
  return isCutOff ? 'the end is missing of the file' : undefined
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
    rejectUnusable(() => file)
    return checked(require(file), file)
  }
  const { version: found } = manifest()
  if (found !== version) {
    throw Object.assign(new Error(`It has version ${found}, and sandbox-volumes has version ${version}`), { found })
  }
  rejectUnusable(() => require.resolve(packageName))
  return checked(addon(), packageName)
}

/** Returns what was loaded if it is an addon of this project. */
function checked(loaded, name) {
  if (typeof loaded?.connect !== 'function') {
    throw new Error(`"${name}" is not an addon of sandbox-volumes`)
  }
  return loaded
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
