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

/** The mounts as they are now, whatever the caller changes later. Taken in one turn, so nothing else is done to them. */
class OwnMounts {
  #guestPaths
  #configs

  constructor(mounts) {
    this.#guestPaths = Object.keys(mounts)
    this.#configs = this.#guestPaths.map((guestPath) => own(mounts[guestPath]))
  }

  get count() {
    return this.#configs.length
  }

  /** Some of them, by their guest paths, of which one may be called "__proto__". */
  part(begin, end) {
    const configs = this.#configs.slice(begin, end)
    return Object.fromEntries(configs.map((config, at) => [this.#guestPaths[begin + at], config]))
  }
}

/** A mount that the caller cannot change: one that was made by `Mount` is frozen, and another is copied. */
function own(config) {
  const isSettled = Object.isFrozen(config) && Object.isFrozen(config?.labels)
  return isSettled ? config : copyOfPlain(config)
}

/** The mounts as they are now. What is no object of mounts is refused when it is added. */
function ownMounts(mounts) {
  return isPlain(mounts) ? new OwnMounts(mounts) : mounts
}

/** Adds `mounts` to a plan of the native side. Gives a promise where there are more than one turn takes. */
function addMounts(plan, mounts) {
  const owned = ownMounts(mounts)
  if (!(owned instanceof OwnMounts)) {
    plan.add(owned)
    return undefined
  }
  if (owned.count > AT_ONCE) {
    return addInTurns(plan, owned)
  }
  plan.add(owned.part(0, AT_ONCE))
  return undefined
}

async function addInTurns(plan, owned) {
  for (let at = 0; at < owned.count; at += AT_ONCE) {
    await nextTurn()
    plan.add(owned.part(at, at + AT_ONCE))
  }
}

module.exports = { Mount, MountKind, addMounts, ownMounts }
