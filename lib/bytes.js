'use strict'

const { isUint8Array } = require('node:util/types')
const { invalidConfig } = require('./errors.js')

/**
 * A path within a volume as the native side takes it. Bytes are copied, for the caller may change, resize or transfer
 * them at any time; what is neither a string nor bytes is refused there.
 */
function pathOf(path) {
  return isUint8Array(path) ? copyOfBytes('path', path) : path
}

/** A copy of a `Uint8Array` of any realm. Refuses one whose buffer was detached or became too short for it. */
function copyOfBytes(field, bytes) {
  try {
    return new Uint8Array(bytes)
  } catch (error) {
    if (error instanceof TypeError) {
      throw invalidConfig(field, 'its buffer was transferred or became too short; pass bytes that are still there')
    }
    throw error
  }
}

/** Refuses data whose buffer was detached or became too short for it: it has no bytes, and reads as empty. */
function refuseLost(data) {
  if (isUint8Array(data) && data.length === 0) {
    copyOfBytes('data', data)
  }
}

module.exports = { copyOfBytes, pathOf, refuseLost }
