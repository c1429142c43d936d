// What each addon must keep before it is packed.
import { readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import path from 'node:path'
import { cargoHome } from './build.mjs'
import { readElf } from './elf.mjs'
import { GLIBC_FLOOR, root } from './targets.mjs'

/** The largest addon that passes, in bytes. A change that needs more raises this and says by how much. */
export const MAX_ADDON_BYTES = 5_000_000
/** The most that `MAX_ADDON_BYTES` may ever be, in bytes. */
export const ADDON_BYTES_CEILING = 7_000_000

/** The libraries that an addon may need. Everything else is linked into it. */
const LIBRARIES = {
  glibc: /^(?:lib(?:c|m|dl|rt|pthread)\.so\.\d+|ld-linux-(?:x86-64|aarch64)\.so\.\d+)$/,
  musl: /^libc\.so$/,
}

/** The function that Node.js calls to load an addon. */
const ENTRY = 'napi_register_module_v1'

/**
 * Returns what is wrong with an addon, a sentence each. Returns an empty array if it may be packed.
 *
 * @param {string} file
 * @param {{ machine: string, libc: string }} target
 * @returns {string[]}
 */
export function checkAddon(file, target) {
  const bytes = readFileSync(file)
  let library
  try {
    library = readElf(bytes)
  } catch (error) {
    return [`${error.message}.`]
  }
  const checks = [checkSize, checkMachine, checkLibraries, checkVersions, checkExports, checkStripped, checkPaths]
  return checks.flatMap((check) => check(library, target, bytes))
}

function checkSize(_library, _target, { length }) {
  const limit = Math.min(MAX_ADDON_BYTES, ADDON_BYTES_CEILING)
  return length <= limit ? [] : [`It has ${length} bytes, more than ${limit}.`]
}

function checkMachine({ machine }, target) {
  return machine === target.machine ? [] : [`It is for ${machine}, not for ${target.machine}.`]
}

function checkLibraries({ needed, searchPaths, executableStack }, { libc }) {
  return [
    ...needed.filter((name) => !LIBRARIES[libc].test(name)).map((name) => `It needs the library ${name}.`),
    ...(needed.some((name) => /^libc\./.test(name)) ? [] : ['It does not name the C library that it needs.']),
    ...searchPaths.map((searchPath) => `It searches libraries in ${searchPath}.`),
    ...(executableStack ? ['It makes the stack executable.'] : []),
  ]
}

function checkVersions({ versions, symbols }, { libc }) {
  if (libc === 'musl') return versions.map((version) => `It needs ${version}, and musl has no versions.`)
  const unversioned = symbols.filter(({ defined, weak, version }) => !defined && !weak && version === undefined)
  return [
    ...versions.filter(isTooNew).map((version) => `It needs ${version}, and the floor is ${GLIBC_FLOOR}.`),
    // A symbol that the floor does not have is linked without a version. It then fails to load there.
    ...unversioned.map(({ name }) => `It needs ${name} of no version, which glibc ${GLIBC_FLOOR} may not have.`),
  ]
}

/** Returns whether a version is above the floor, or none of glibc's public versions. */
function isTooNew(version) {
  const parts = (text) => text.split('.').map(Number)
  const [major, minor] = parts(/^GLIBC_(\d+\.\d+)(?:\.\d+)?$/.exec(version)?.[1] ?? '9999.0')
  const [floorMajor, floorMinor] = parts(GLIBC_FLOOR)
  return major > floorMajor || (major === floorMajor && minor > floorMinor)
}

function checkExports({ symbols }) {
  const exported = symbols.filter(({ defined }) => defined).map(({ name }) => name)
  // Symbols of the libraries inside could take the place of those of another addon.
  const others = exported.filter((name) => !name.startsWith('napi_'))
  return [
    ...(exported.includes(ENTRY) ? [] : [`It does not export ${ENTRY}.`]),
    ...others.map((name) => `It exports ${name}.`),
  ]
}

function checkStripped({ hasSymbolTable, sections }) {
  const debug = sections.filter((name) => /^\.(?:z?debug_|gdb_index)/.test(name))
  return [
    ...(hasSymbolTable ? ['It has a symbol table.'] : []),
    ...(debug.length > 0 ? [`It has debug information: ${debug.join(', ')}.`] : []),
  ]
}

/** Paths of users' homes and of toolchains, on whatever machine it was built. */
const BUILDER_PATHS = /\/(?:root|home|Users)\/|\/\.?cargo\/registry\/|\/\.rustup\/|\/\.cache\//

/** Returns what finds a path below a folder. A folder such as `/src` must begin there: other paths have it inside. */
function pathBelow(folder) {
  const name = folder.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
  return new RegExp(`${folder.lastIndexOf('/') === 0 ? '(?<![\\w.-])' : ''}${name}/`)
}

function checkPaths(_library, _target, bytes) {
  const own = [homedir(), cargoHome, path.resolve(root)].filter((folder) => folder.length > 1).map(pathBelow)
  // Runs of printable characters, as strings(1) finds them.
  const texts = bytes.toString('latin1').match(/[\x20-\x7e]{4,}/g) ?? []
  return texts
    .map((text) => own.map((pattern) => text.search(pattern)).find((at) => at !== -1) ?? text.search(BUILDER_PATHS))
    .flatMap((at, index) => (at === -1 ? [] : [`It holds the path ${texts[index].slice(at, at + 100)}`]))
}
