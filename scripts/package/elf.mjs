// Reads what the checks need from a shared library of 64 bits, little-endian: the only kind that we build.
// The names are those of elf(5).

const EM = { 62: 'x86_64', 183: 'aarch64' }
const ET_DYN = 3
const SHT = { symtab: 2, dynamic: 6, dynsym: 11, verneed: 0x6ffffffe, versym: 0x6fffffff }
const DT = { needed: 1, rpath: 15, runpath: 29 }
const PT_GNU_STACK = 0x6474e551
const PF_X = 1
const STB_WEAK = 2
const SHN_UNDEF = 0
/** The versions "local" and "global", which stand for no version. */
const VER_NDX_GLOBAL = 1

/**
 * @typedef {object} DynamicSymbol
 * @property {string} name
 * @property {boolean} defined
 * @property {boolean} weak
 * @property {string | undefined} version The version that an undefined symbol needs.
 *
 * @typedef {object} SharedLibrary
 * @property {string} machine
 * @property {string[]} sections Their names.
 * @property {boolean} hasSymbolTable
 * @property {string[]} needed The libraries that the loader loads with it.
 * @property {string[]} searchPaths RPATH and RUNPATH.
 * @property {string[]} versions The versions that it needs of its libraries, as `GLIBC_2.28`.
 * @property {DynamicSymbol[]} symbols
 * @property {boolean} executableStack
 */

/**
 * Reads a shared library. Fails if the bytes are none, or are cut off.
 *
 * @param {Buffer} bytes
 * @returns {SharedLibrary}
 */
export function readElf(bytes) {
  if (bytes.length < 64 || bytes.readUInt32BE(0) !== 0x7f454c46) throw new Error('Not an ELF file')
  if (bytes[4] !== 2 || bytes[5] !== 1) throw new Error('Not an ELF file of 64 bits, little-endian')
  if (bytes.readUInt16LE(16) !== ET_DYN) throw new Error('Not a shared library')
  try {
    return read(bytes)
  } catch (cause) {
    if (cause instanceof RangeError) throw new Error('The ELF file is cut off', { cause })
    throw cause
  }
}

function read(bytes) {
  const machine = bytes.readUInt16LE(18)
  const sections = readSections(bytes)
  const names = sections[bytes.readUInt16LE(62)]
  const ofType = (type) => sections.filter((section) => section.type === type)
  const dynamic = ofType(SHT.dynamic).flatMap((section) => readDynamic(bytes, section, sections[section.link]))
  const needs = ofType(SHT.verneed).flatMap((section) => readVersions(bytes, section, sections[section.link]))
  const versym = ofType(SHT.versym)[0]
  return {
    machine: EM[machine] ?? `machine ${machine}`,
    sections: sections.map(({ name }) => text(bytes, names, name)),
    hasSymbolTable: ofType(SHT.symtab).length > 0,
    needed: dynamic.filter(({ tag }) => tag === DT.needed).map(({ value }) => value),
    searchPaths: dynamic.filter(({ tag }) => tag === DT.rpath || tag === DT.runpath).map(({ value }) => value),
    versions: needs.map(({ name }) => name),
    symbols: ofType(SHT.dynsym).flatMap((table) => readSymbols(bytes, table, sections[table.link], versym, needs)),
    executableStack: hasExecutableStack(bytes),
  }
}

const number = (bytes, at) => Number(bytes.readBigUInt64LE(at))

function text(bytes, { offset }, at) {
  const end = bytes.indexOf(0, offset + at)
  if (end === -1) throw new RangeError('A name without an end')
  return bytes.toString('latin1', offset + at, end)
}

function readSections(bytes) {
  const table = number(bytes, 40)
  return Array.from({ length: bytes.readUInt16LE(60) }, (_, index) => {
    const at = table + index * bytes.readUInt16LE(58)
    return {
      name: bytes.readUInt32LE(at),
      type: bytes.readUInt32LE(at + 4),
      offset: number(bytes, at + 24),
      size: number(bytes, at + 32),
      link: bytes.readUInt32LE(at + 40),
    }
  })
}

function readDynamic(bytes, { offset, size }, strings) {
  return Array.from({ length: size / 16 }, (_, index) => ({
    tag: number(bytes, offset + index * 16),
    at: number(bytes, offset + index * 16 + 8),
  }))
    .filter(({ tag }) => Object.values(DT).includes(tag))
    .map(({ tag, at }) => ({ tag, value: text(bytes, strings, at) }))
}

/** Returns each needed version with the index that `.gnu.version` has for it. */
function readVersions(bytes, { offset }, strings) {
  const found = []
  for (let need = offset, more = 1; more !== 0; need += more) {
    const count = bytes.readUInt16LE(need + 2)
    for (let index = 0, aux = need + bytes.readUInt32LE(need + 8); index < count; index += 1) {
      found.push({ index: bytes.readUInt16LE(aux + 6), name: text(bytes, strings, bytes.readUInt32LE(aux + 8)) })
      aux += bytes.readUInt32LE(aux + 12)
    }
    more = bytes.readUInt32LE(need + 12)
  }
  return found
}

function readSymbols(bytes, { offset, size }, strings, versym, needs) {
  const versions = new Map(needs.map(({ index, name }) => [index, name]))
  // The first symbol is always empty.
  return Array.from({ length: size / 24 - 1 }, (_, at) => {
    const symbol = offset + (at + 1) * 24
    // The highest bit says that the version is hidden.
    const version = versym === undefined ? VER_NDX_GLOBAL : bytes.readUInt16LE(versym.offset + (at + 1) * 2) & 0x7fff
    return {
      name: text(bytes, strings, bytes.readUInt32LE(symbol)),
      defined: bytes.readUInt16LE(symbol + 6) !== SHN_UNDEF,
      weak: bytes[symbol + 4] >> 4 === STB_WEAK,
      version: versions.get(version),
    }
  })
}

/** Without a header that says otherwise, Linux makes the stack executable. */
function hasExecutableStack(bytes) {
  const table = number(bytes, 32)
  const headers = Array.from({ length: bytes.readUInt16LE(56) }, (_, index) => table + index * bytes.readUInt16LE(54))
  const stack = headers.find((at) => bytes.readUInt32LE(at) === PT_GNU_STACK)
  return stack === undefined || (bytes.readUInt32LE(stack + 4) & PF_X) !== 0
}
