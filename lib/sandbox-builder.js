'use strict'

const { invalidConfig } = require('./errors.js')

/**
 * Adds each mount to microsandbox's `SandboxBuilder`. A mount is `{ guestPath, calls: [[method, ...arguments]] }`.
 * Returns the builder.
 *
 * Accepts any object with these methods. It checks all methods of a mount before the first call.
 */
function makeMounts(builder, mounts) {
  if (typeof builder?.volume !== 'function') {
    throw invalidConfig('builder', 'expected a SandboxBuilder of microsandbox, which has a method "volume"')
  }
  for (const { guestPath, calls } of mounts) {
    let failure
    const configure = (mount) => {
      try {
        return makeMount(mount, calls)
      } catch (error) {
        failure = error
        throw error
      }
    }
    try {
      builder.volume(guestPath, configure)
    } catch (error) {
      // Native code between may replace the error by another one.
      throw failure ?? error
    }
  }
  return builder
}

function makeMount(mount, calls) {
  for (const [method] of calls) {
    if (typeof mount?.[method] !== 'function') {
      throw invalidConfig('builder', `its mounts have no method "${method}"; use microsandbox 0.6 or later`)
    }
  }
  return calls.reduce((configured, [method, ...args]) => configured[method](...args), mount)
}

module.exports = { makeMounts }
