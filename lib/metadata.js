'use strict'

/** By the upper bits of `st_mode`. */
const KINDS = new Map([
  [0o04, 'directory'],
  [0o10, 'file'],
  [0o12, 'symlink'],
])

const kindOf = (mode) => KINDS.get(mode >> 12) ?? 'other'

const permissionsOf = (mode) => mode & 0o7777

/** The native side has NaN for what is not known or no `Date`. */
const dateOf = (ms) => (Number.isNaN(ms) ? null : new Date(ms))

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
