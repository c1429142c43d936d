'use strict'

const { call, onlySignal } = require('./call.js')
const { makeMounts } = require('./sandbox-builder.js')

class Attachment {
  #native

  constructor(native) {
    this.#native = native
    Object.assign(this, {
      sandbox: native.sandbox,
      pid: native.pid,
      mounts: Object.freeze(native.mounts().map(Object.freeze)),
    })
    Object.freeze(this)
  }

  toBubblewrap() {
    return this.#native.toBubblewrap()
  }

  toOci() {
    return JSON.parse(this.#native.toOci())
  }

  toQemu(options) {
    return JSON.parse(this.#native.toQemu(options))
  }

  toDocker(options) {
    return this.#native.toDocker(options)
  }

  toMicrosandbox(options) {
    return this.#native.toMicrosandbox(options)
  }

  configureSandbox(builder, options) {
    return makeMounts(builder, JSON.parse(this.#native.sandboxCalls(options)))
  }

  toKubernetes(options) {
    return JSON.parse(this.#native.toKubernetes(options))
  }

  async detach(options) {
    return call(onlySignal(options), (cancellation) => this.#native.detach(cancellation))
  }

  async [Symbol.asyncDispose]() {
    await this.detach()
  }
}

module.exports = { Attachment }
