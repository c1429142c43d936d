'use strict'

/** Keyed by the upper bits of `st_mode`. */
const KINDS = new Map([
  [0o04, 'directory'],
  [0o10, 'file'],
  [0o12, 'symlink'],
])

const kindOf = (mode) => KINDS.get(mode >> 12) ?? 'other'

const permissionsOf = (mode) => mode & 0o7777

/** Returns a `Date`, or null for an unknown time (NaN or null) and for one that a `Date` cannot hold. */
function dateOf(ms) {
  const date = new Date(ms ?? NaN)
  return Number.isNaN(date.getTime()) ? null : date
}

/** Creates the result of `stat`. */
function metadataOf({ mode, size, allocatedBytes, uid, gid, nlink, modifiedMs, accessedMs, createdMs }) {
  return {
    kind: kindOf(mode),
    size,
    allocatedBytes,
    mode: permissionsOf(mode),
    readonly: (mode & 0o222) === 0,
    uid,
    gid,
    nlink,
    modified: dateOf(modifiedMs),
    accessed: dateOf(accessedMs),
    created: dateOf(createdMs),
  }
}

module.exports = { dateOf, kindOf, metadataOf, permissionsOf }
