'use strict'

const fs = require('node:fs')
const path = require('node:path')
const native = require('./native.js')
const { invalidConfig } = require('./errors.js')
const { Attachment, toAttachmentInfo } = require('./attachment.js')
const { Volume, VolumeHandle } = require('./volume.js')
const { call, onlySignal, splitOptions, throwIfAborted } = require('./call.js')
const { addMounts, snapshotMounts } = require('./mount.js')
const { valuesOf } = require('./pages.js')
const { copyOfPlain } = require('./plain.js')

/** Open stores of the module functions, keyed by home. */
const defaultStores = new Map()

class VolumeStore {
  #native

  constructor(store, home) {
    if (store === undefined) {
      throw new TypeError('A VolumeStore is made by VolumeStore.open')
    }
    this.#native = store
    Object.defineProperty(this, 'home', { value: home, enumerable: true })
  }

  static async open(options) {
    const { signal, rest } = splitOptions(options)
    throwIfAborted(signal)
    const settings = withHome(rest)
    const store = await call(signal, () => native.openStore(settings))
    for (const warning of store.takeHomeWarnings()) {
      process.emitWarning(warning, 'VolumeHomeWarning')
    }
    throwIfAborted(signal)
    return new VolumeStore(store, settings.home)
  }

  static async check(options) {
    const { signal, rest } = splitOptions(options)
    const found = await call(signal, (cancellation) => native.checkStore(withHome(rest), cancellation))
    return valuesOf(found, (problem) => problem)
  }

  async createVolume(name, ...options) {
    const { signal, rest: settings } = splitEach(options)
    const created = await call(signal, (cancellation) => this.#native.create(name, settings, cancellation))
    const { id, path } = JSON.parse(created)
    return new Volume(this.#native, { id, name, path })
  }

  async getVolume(name, options) {
    const info = await call(onlySignal(options), (cancellation) => this.#native.get(name, cancellation))
    return new VolumeHandle(this.#native, JSON.parse(info))
  }

  async listVolumes(options) {
    const { signal, rest } = splitOptions(options)
    const listed = await call(signal, (cancellation) => this.#native.list(rest, cancellation))
    for (const warning of this.#native.takeWarnings()) {
      process.emitWarning(warning, 'VolumeCatalogWarning')
    }
    return valuesOf(listed, (info) => new VolumeHandle(this.#native, info))
  }

  async removeVolume(name, options) {
    return await call(onlySignal(options), (cancellation) => this.#native.remove(name, null, cancellation))
  }

  async attach(sandbox, mounts, options) {
    const { signal, rest } = splitOptions(options)
    const attached = await call(signal, async (cancellation) => {
      const plan = new native.NativeMounts()
      const adding = addMounts(plan, mounts)
      if (adding !== undefined) {
        await adding
      }
      return this.#native.attach(sandbox, plan, rest, cancellation)
    })
    return new Attachment(attached, await valuesOf(attached.takeMounts(), Object.freeze))
  }

  async attachments(options) {
    const { signal, rest } = splitOptions(options)
    const listed = await call(signal, (cancellation) => this.#native.attachments(rest, cancellation))
    return valuesOf(listed, toAttachmentInfo)
  }

  async detach(id, options) {
    const { signal, rest } = splitOptions(options)
    return await call(signal, (cancellation) => this.#native.detach(id, rest, cancellation))
  }
}

/** Returns the options with an absolute home, or with the default one. */
function withHome(options) {
  if (options.home === '') {
    throw invalidConfig('home', 'a home must not be empty; leave it out for the default one')
  }
  const home = typeof options.home === 'string' ? resolved(options.home) : options.home
  return { ...options, home: home ?? defaultHome(), shared: options.shared ?? sharedByDefault() }
}

/** Whether the environment variable accepts a home that other users of the host may use. */
function sharedByDefault() {
  return process.env.SANDBOX_VOLUMES_SHARED === '1'
}

/** Makes a home of the caller absolute. */
function resolved(home) {
  rejectTilde('home', home)
  if (!path.isAbsolute(home)) {
    try {
      // `process.cwd()` would return a cached directory that may be gone.
      fs.realpathSync.native('.')
    } catch (error) {
      const problem = `${JSON.stringify(home)} is relative, and the working directory is gone`
      throw invalidConfig('home', `${problem}; set an absolute path`, error)
    }
  }
  return path.resolve(home)
}

/** Returns `MSB_HOME` if it is set, else `~/.microsandbox`. Never uses the working directory. */
function defaultHome() {
  const home = process.env.MSB_HOME
  return home ? absolute('MSB_HOME', home) : path.join(userHome(), '.microsandbox')
}

function userHome() {
  let home
  try {
    // Loaded here, because a program that sets `home` or MSB_HOME does not need it.
    home = require('node:os').homedir()
  } catch (error) {
    const problem = 'it is not set, and the host knows no home directory of this user'
    throw invalidConfig('HOME', `${problem}; set HOME or MSB_HOME to an absolute path`, error)
  }
  return absolute('HOME', home)
}

/** Returns the value of an environment variable, which must be an absolute path. */
function absolute(name, value) {
  rejectTilde(name, value)
  if (!path.isAbsolute(value)) {
    const found = value === '' ? 'it is empty' : `${JSON.stringify(value)} is relative`
    const variables = name === 'HOME' ? 'HOME or MSB_HOME' : name
    throw invalidConfig(name, `${found}; set ${variables} to an absolute path`)
  }
  return path.resolve(value)
}

/** Throws for `~`, `~/x` and `~user/x`, which only a shell expands. */
function rejectTilde(name, value) {
  if (/^~[^/]*(\/|$)/.test(value)) {
    const problem = `${JSON.stringify(value)} begins with a tilde, which only a shell expands`
    throw invalidConfig(name, `${problem}; set an absolute path`)
  }
}

/** Splits several options objects. The last signal counts. */
function splitEach(options) {
  const split = options.map(splitOptions)
  return {
    signal: split.findLast((option) => option.signal)?.signal,
    rest: split.map((option) => option.rest),
  }
}

/** Copies options, except the signal. Reads each property once. */
function copyOfOptions(options) {
  const { signal, rest } = splitOptions(options)
  return { ...copyOfPlain(rest), signal }
}

/**
 * Returns the store of the current default home, and opens it on first use. A call with bad options or an aborted
 * signal does not open it.
 */
async function defaultStore(...options) {
  throwIfAborted(splitEach(options).signal)
  const home = defaultHome()
  let opening = defaultStores.get(home)
  if (opening === undefined) {
    opening = VolumeStore.open({ home })
    defaultStores.set(home, opening)
    opening.catch(() => defaultStores.delete(home))
  }
  return opening
}

async function createVolume(name, ...options) {
  const given = options.map(copyOfOptions)
  return await (await defaultStore(...given)).createVolume(name, ...given)
}

async function getVolume(name, options) {
  const given = copyOfOptions(options)
  return await (await defaultStore(given)).getVolume(name, given)
}

async function listVolumes(options) {
  const given = copyOfOptions(options)
  return await (await defaultStore(given)).listVolumes(given)
}

async function removeVolume(name, options) {
  const given = copyOfOptions(options)
  return await (await defaultStore(given)).removeVolume(name, given)
}

async function attach(sandbox, mounts, options) {
  const [given, snapshot] = [copyOfOptions(options), snapshotMounts(mounts)]
  return await (await defaultStore(given)).attach(sandbox, snapshot, given)
}

async function attachments(options) {
  const given = copyOfOptions(options)
  return await (await defaultStore(given)).attachments(given)
}

async function detach(id, options) {
  const given = copyOfOptions(options)
  return await (await defaultStore(given)).detach(id, given)
}

module.exports = {
  VolumeStore,
  createVolume,
  getVolume,
  listVolumes,
  removeVolume,
  attach,
  attachments,
  detach,
}
