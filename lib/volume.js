'use strict'

const { VolumeFs } = require('./volume-fs.js')
const { call, onlySignal } = require('./call.js')
const { dateOf } = require('./metadata.js')

/** The base of a new volume and of a looked-up one. Stores create both. Properties are read-only. */
class NamedVolume {
  #store

  constructor(store, properties) {
    this.#store = store
    Object.freeze(Object.assign(this, properties))
  }

  fs() {
    return new VolumeFs(this.#store.files(this.name, this.id))
  }

  async remove(options) {
    return await call(onlySignal(options), (cancellation) => this.#store.remove(this.name, this.id, cancellation))
  }
}

class Volume extends NamedVolume {}

class VolumeHandle extends NamedVolume {
  constructor(store, { labels, createdAtMs, ...properties }) {
    super(store, {
      ...properties,
      labels: Object.freeze(labels),
      createdAt: dateOf(createdAtMs),
    })
  }
}

module.exports = { NamedVolume, Volume, VolumeHandle }
