'use strict'

/** By the upper bits of `st_mode`. */
const KINDS = new Map([
  [0o04, 'directory'],
  [0o10, 'file'],
  [0o12, 'symlink'],
])

const kindOf = (mode) => KINDS.get(mode >> 12) ?? 'other'

const permissionsOf = (mode) => mode & 0o7777

/** A `Date`; null for what is not known, which the native side tells as NaN or null, or beyond what a `Date` can hold. */
function dateOf(ms) {
  const date = new Date(ms ?? NaN)
  return Number.isNaN(date.getTime()) ? null : date
}

/** What `stat` gives. */
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
