'use strict'

const { inspect } = require('node:util')
const { call, onlySignal } = require('./call.js')
const { dateOf } = require('./metadata.js')
const { listsOf, textsOf, valuesOf } = require('./packed.js')
const { makeMounts } = require('./sandbox-builder.js')

class Attachment {
  #native
  #pid

  constructor(native, mounts) {
    this.#native = native
    this.#pid = native.pid
    Object.assign(this, { id: native.id, sandbox: native.sandbox })
    // `handOver` changes it. It is enumerable like the other properties.
    Object.defineProperty(this, 'pid', { get: () => this.#pid, enumerable: true })
    this.mounts = Object.freeze(mounts)
    native.claim()
    Object.freeze(this)
  }

  toBubblewrap(options) {
    return textsOf(this.#native.toBubblewrap(options))
  }

  descriptors() {
    return this.#native.descriptors()
  }

  toOci(options) {
    return valuesOf(this.#native.toOci(options))
  }

  toQemu(options) {
    return listsOf(this.#native.toQemu(options))
  }

  toDocker(options) {
    return textsOf(this.#native.toDocker(options))
  }

  toMicrosandbox(options) {
    return textsOf(this.#native.toMicrosandbox(options))
  }

  configureSandbox(builder, options) {
    const configured = makeMounts(builder, valuesOf(this.#native.sandboxCalls(options)))
    this.#native.releaseForSandbox(options)
    return configured
  }

  toKubernetes(options) {
    return listsOf(this.#native.toKubernetes(options))
  }

  async handOver(pid, options) {
    this.#pid = await call(onlySignal(options), (cancellation) => this.#native.handOver(pid, cancellation))
  }

  async mountInto(rootfs, options) {
    return await call(onlySignal(options), (cancellation) => this.#native.mountInto(rootfs, cancellation))
  }

  async unmount(options) {
    return await call(onlySignal(options), (cancellation) => this.#native.unmount(cancellation))
  }

  async detach(options) {
    return await call(onlySignal(options), (cancellation) => this.#native.detach(cancellation))
  }

  async [Symbol.asyncDispose]() {
    await this.detach()
  }

  [inspect.custom](_depth, options) {
    return `Attachment ${inspect({ ...this }, options)}`
  }
}

/** Creates an entry of the result of `attachments` from the JSON of the native side. */
function toAttachmentInfo({ createdAtMs, volumes, disks, ...properties }) {
  return Object.freeze({
    ...properties,
    createdAt: dateOf(createdAtMs),
    volumes: Object.freeze(volumes.map(Object.freeze)),
    disks: Object.freeze(disks.map(Object.freeze)),
  })
}

module.exports = { Attachment, toAttachmentInfo }
