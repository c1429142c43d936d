'use strict'

const { isUint8Array } = require('node:util/types')
const { invalidConfig } = require('./errors.js')

/**
 * Returns a path within a volume for the native side. Copies bytes, because the caller may change, resize or
 * transfer them at any time. The native side rejects a value of another type.
 */
function pathOf(path) {
  return isUint8Array(path) ? copyOfBytes('path', path) : path
}

/** Copies a `Uint8Array` of any realm. Throws if its buffer was detached or became too short for it. */
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

/**
 * Throws if the buffer of the data was detached or became too short for it. Such data has no bytes, and would be
 * written as empty.
 */
function rejectDetached(data) {
  if (isUint8Array(data) && data.length === 0) {
    copyOfBytes('data', data)
  }
}

module.exports = { copyOfBytes, pathOf, rejectDetached }
