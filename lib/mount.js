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
  if (!isPlain(mounts) || Object.keys(mounts).length <= AT_ONCE) {
    plan.add(mounts)
    return undefined
  }
  return addInTurns(plan, Object.entries(copyOfMounts(mounts)))
}

async function addInTurns(plan, entries) {
  for (let at = 0; at < entries.length; at += AT_ONCE) {
    if (at > 0) {
      await nextTurn()
    }
    plan.add(Object.fromEntries(entries.slice(at, at + AT_ONCE)))
  }
}

/** A copy of `mounts` that the caller cannot change; those that were made by `Mount` are shared, for they are frozen. */
function copyOfMounts(mounts) {
  const isSettled = (config) => Object.isFrozen(config) && Object.isFrozen(config?.labels)
  const copyOf = ([guestPath, config]) => [guestPath, isSettled(config) ? config : copyOfPlain(config)]
  return isPlain(mounts) ? Object.fromEntries(Object.entries(mounts).map(copyOf)) : mounts
}

module.exports = { Mount, MountKind, addMounts, copyOfMounts }
