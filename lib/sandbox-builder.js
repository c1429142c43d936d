'use strict'

const { invalidConfig } = require('./errors.js')

/**
 * Tells microsandbox's `SandboxBuilder` of each mount: `{ guestPath, calls: [[method, ...arguments]] }`. Returns it.
 * Any object will do that has the methods; those of a mount are looked for before the first of them is called.
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
      // On its way through native code an error may become another one.
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
