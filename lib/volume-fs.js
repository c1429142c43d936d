'use strict'

const { invalidConfig } = require('./errors.js')
const { pathOf, rejectDetached } = require('./bytes.js')
const { call, onlySignal, splitOptions } = require('./call.js')
const { listEntries } = require('./dir-listing.js')
const { metadataOf } = require('./metadata.js')
const { copy, transfer } = require('./copying.js')
const { textOf, withEncoded } = require('./pages.js')
const { describe } = require('./plain.js')
const { readStream, writeStream } = require('./streams.js')

class VolumeFs {
  #files

  constructor(files) {
    this.#files = files
    Object.defineProperty(this, 'root', { value: files.root, enumerable: true })
  }

  async read(relPath, options) {
    return await call(onlySignal(options), (cancellation) => this.#files.read(pathOf(relPath), cancellation))
  }

  async readString(relPath, options) {
    return await call(onlySignal(options), async (cancellation) =>
      textOf(await this.#files.readString(pathOf(relPath), cancellation)),
    )
  }

  async write(relPath, data, options) {
    const { signal, rest } = splitOptions(options)
    rejectDetached(data)
    const path = pathOf(relPath)
    return await call(signal, (cancellation) =>
      withEncoded(data, (bytes) => this.#files.write(path, bytes, rest, cancellation)),
    )
  }

  async writeString(relPath, content, options) {
    if (typeof content !== 'string') {
      throw invalidConfig('content', `expected a string, got ${describe(content)}`)
    }
    return await this.write(relPath, content, options)
  }

  async append(relPath, data, options) {
    const { signal, rest } = splitOptions(options)
    rejectDetached(data)
    const path = pathOf(relPath)
    return await call(signal, (cancellation) =>
      withEncoded(data, (bytes) => this.#files.append(path, bytes, rest, cancellation)),
    )
  }

  async copy(from, to, options) {
    return await copy(onlySignal(options), (cancellation) => this.#files.copy(pathOf(from), pathOf(to), cancellation))
  }

  async copyIn(hostPath, relPath, options) {
    return await transfer(options, (...how) => this.#files.copyIn(hostPath, pathOf(relPath), ...how))
  }

  async copyOut(relPath, hostPath, options) {
    return await transfer(options, (...how) => this.#files.copyOut(pathOf(relPath), hostPath, ...how))
  }

  readStream(relPath, options) {
    return readStream(options, (rest) => this.#files.reader(pathOf(relPath), rest))
  }

  writeStream(relPath, options) {
    return writeStream(options, (rest) => this.#files.writer(pathOf(relPath), rest))
  }

  async mkdir(relPath, options) {
    return await call(onlySignal(options), (cancellation) => this.#files.mkdir(pathOf(relPath), cancellation))
  }

  async remove(relPath, options) {
    return await call(onlySignal(options), (cancellation) => this.#files.remove(pathOf(relPath), cancellation))
  }

  async removeAll(relPath, options) {
    return await call(onlySignal(options), (cancellation) => this.#files.removeAll(pathOf(relPath), cancellation))
  }

  async exists(relPath, options) {
    return await call(onlySignal(options), (cancellation) => this.#files.exists(pathOf(relPath), cancellation))
  }

  list(relPath, options) {
    return listEntries(this.#files, relPath, options)
  }

  async stat(relPath, options) {
    const { signal, rest } = splitOptions(options)
    const stat = await call(signal, (cancellation) => this.#files.stat(pathOf(relPath), rest, cancellation))
    return metadataOf(JSON.parse(stat))
  }

  async rename(from, to, options) {
    return await call(onlySignal(options), (cancellation) => this.#files.rename(pathOf(from), pathOf(to), cancellation))
  }
}

module.exports = { VolumeFs }
