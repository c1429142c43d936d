'use strict'

const { setImmediate: nextTurn } = require('node:timers/promises')
const native = require('./native.js')
const { copyOfPlain, isPlain } = require('./plain.js')
const { NamedVolume } = require('./volume.js')

/** Creates a mount from the JSON of the native side. */
function mountOf(json) {
  const config = JSON.parse(json)
  if (config.labels !== null) {
    Object.freeze(config.labels)
  }
  return Object.freeze(config)
}

/** Returns the name of a volume, and its id if `volume` is an object of this package. */
function volumeRef(volume) {
  return volume instanceof NamedVolume ? [volume.name, volume.id] : [volume, null]
}

function named(volume, options) {
  const [name, id] = volumeRef(volume)
  return mountOf(native.mountNamed(name, options, id))
}

function namedWith(volume, options, namedOptions) {
  const [name, id] = volumeRef(volume)
  return mountOf(native.mountNamedWith(name, options, namedOptions, id))
}

const Mount = Object.freeze({
  bind: (hostPath, options) => mountOf(native.mountBind(hostPath, options)),
  named,
  namedWith,
  tmpfs: (options) => mountOf(native.mountTmpfs(options)),
  disk: (hostPath, options) => mountOf(native.mountDisk(hostPath, options)),
})

const MountKind = Object.freeze({ Bind: 'bind', Named: 'named', Tmpfs: 'tmpfs', Disk: 'disk' })

/** How many mounts are read in one turn of the event loop. */
const MOUNTS_PER_TURN = 200

/**
 * A copy of the mounts, which later changes by the caller do not affect. It is taken in one turn of the event loop,
 * so nothing else is done to them.
 */
class MountsSnapshot {
  #guestPaths
  #configs

  constructor(mounts) {
    this.#guestPaths = Object.keys(mounts)
    this.#configs = this.#guestPaths.map((guestPath) => frozenCopy(mounts[guestPath]))
  }

  get count() {
    return this.#configs.length
  }

  /** Returns some of the mounts, keyed by their guest paths. A guest path may be "__proto__". */
  slice(begin, end) {
    const configs = this.#configs.slice(begin, end)
    return Object.fromEntries(configs.map((config, at) => [this.#guestPaths[begin + at], config]))
  }
}

/** Returns a mount that the caller cannot change. A mount from `Mount` is frozen already; another one is copied. */
function frozenCopy(config) {
  const isFrozen = Object.isFrozen(config) && Object.isFrozen(config?.labels)
  return isFrozen ? config : copyOfPlain(config)
}

/** Copies the mounts. A value that is not a plain object is rejected when it is added. */
function snapshotMounts(mounts) {
  return isPlain(mounts) ? new MountsSnapshot(mounts) : mounts
}

/** Adds `mounts` to a plan of the native side. Returns a promise if they take more than one turn. */
function addMounts(plan, mounts) {
  const snapshot = snapshotMounts(mounts)
  if (!(snapshot instanceof MountsSnapshot)) {
    plan.add(snapshot)
    return undefined
  }
  if (snapshot.count > MOUNTS_PER_TURN) {
    return addInTurns(plan, snapshot)
  }
  plan.add(snapshot.slice(0, MOUNTS_PER_TURN))
  return undefined
}

async function addInTurns(plan, snapshot) {
  for (let at = 0; at < snapshot.count; at += MOUNTS_PER_TURN) {
    await nextTurn()
    plan.add(snapshot.slice(at, at + MOUNTS_PER_TURN))
  }
}

module.exports = { Mount, MountKind, addMounts, snapshotMounts }
