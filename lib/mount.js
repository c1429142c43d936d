'use strict'

const { setImmediate: nextTurn } = require('node:timers/promises')
const native = require('./native.js')
const { copyOfPlain, isPlain } = require('./plain.js')
const { NamedVolume } = require('./volume.js')

function frozen(config) {
  if (config.labels !== null) {
    Object.freeze(config.labels)
  }
  return Object.freeze(config)
}

/** The name that is meant, and the id where a volume was given instead of a name. */
function volumeRef(volume) {
  return volume instanceof NamedVolume ? [volume.name, volume.id] : [volume, null]
}

function named(volume, options) {
  const [name, id] = volumeRef(volume)
  return frozen(native.mountNamed(name, options, id))
}

function namedWith(volume, options, namedOptions) {
  const [name, id] = volumeRef(volume)
  return frozen(native.mountNamedWith(name, options, namedOptions, id))
}

const Mount = Object.freeze({
  bind: (hostPath, options) => frozen(native.mountBind(hostPath, options)),
  named,
  namedWith,
  tmpfs: (options) => frozen(native.mountTmpfs(options)),
  disk: (hostPath, options) => frozen(native.mountDisk(hostPath, options)),
})

const MountKind = Object.freeze({ Bind: 'bind', Named: 'named', Tmpfs: 'tmpfs', Disk: 'disk' })

/** How many mounts are read in one turn of the event loop. */
const AT_ONCE = 200

/** Adds `mounts` to a plan of the native side. Gives a promise where there are more than one turn takes. */
function addMounts(plan, mounts) {
  const entries = isPlain(mounts) ? Object.entries(mounts) : []
  if (entries.length > AT_ONCE) {
    return addInTurns(plan, entries.map(own))
  }
  plan.add(isPlain(mounts) ? Object.fromEntries(entries) : mounts)
  return undefined
}

async function addInTurns(plan, entries) {
  for (let at = 0; at < entries.length; at += AT_ONCE) {
    if (at > 0) {
      await nextTurn()
    }
    plan.add(Object.fromEntries(entries.slice(at, at + AT_ONCE)))
  }
}

/** A mount that the caller cannot change: one that was made by `Mount` is frozen, and another is copied. */
function own([guestPath, config]) {
  const isSettled = Object.isFrozen(config) && Object.isFrozen(config?.labels)
  return [guestPath, isSettled ? config : copyOfPlain(config)]
}

/** The mounts as they are now. */
function copyOfMounts(mounts) {
  return isPlain(mounts) ? Object.fromEntries(Object.entries(mounts).map(own)) : mounts
}

module.exports = { Mount, MountKind, addMounts, copyOfMounts }
