'use strict'

/**
 * The key of the class name in the prototype of an error class. Classes are compared by this name: this module may
 * be loaded several times in one process while the addon is shared, which creates all errors by the classes that
 * were loaded last.
 */
const CLASS = Symbol.for('sandbox-volumes.errorClass')

const nameOf = (prototype) => (Object.hasOwn(prototype, CLASS) ? prototype[CLASS] : undefined)

/** Every error of this package. `code` is stable. `message` says what to do. */
class VolumeError extends Error {
  static [Symbol.hasInstance](value) {
    const name = nameOf(this.prototype)
    if (name === undefined) {
      // A subclass of the caller.
      return Function.prototype[Symbol.hasInstance].call(this, value)
    }
    let object = value
    while (typeof object === 'object' && object !== null && nameOf(object) !== name) {
      object = Object.getPrototypeOf(object)
    }
    return typeof object === 'object' && object !== null
  }

  constructor(message, code, details = {}) {
    const { cause, ...context } = details
    super(message, cause === undefined ? undefined : { cause: new Error(cause) })
    Object.assign(this, { code }, context)
  }

  /** Returns the value for `JSON.stringify`, which would omit the name, the message and the cause of an `Error`. */
  toJSON() {
    const cause = this.cause instanceof Error ? { cause: { message: this.cause.message } } : {}
    return { name: this.name, message: this.message, ...this, ...cause }
  }
}

class VolumeNotFoundError extends VolumeError {}
class VolumeAlreadyExistsError extends VolumeError {}
class VolumeInUseError extends VolumeError {}
class AttachmentNotFoundError extends VolumeError {}
class VolumeIncompatibleError extends VolumeError {}
class PathEscapeError extends VolumeError {}
class InvalidConfigError extends VolumeError {}
class QuotaExceededError extends VolumeError {}
class UnsupportedMountError extends VolumeError {}
class DiskImageError extends VolumeError {}
class CatalogError extends VolumeError {}
class FileSystemError extends VolumeError {}
class InternalError extends VolumeError {}

/**
 * Keyed by the kind that the native side reports. An abort never reaches a caller: the promise rejects with the
 * reason of the signal.
 */
const classes = {
  ERR_VOLUME_NOT_FOUND: VolumeNotFoundError,
  ERR_VOLUME_ALREADY_EXISTS: VolumeAlreadyExistsError,
  ERR_VOLUME_IN_USE: VolumeInUseError,
  ERR_ATTACHMENT_NOT_FOUND: AttachmentNotFoundError,
  ERR_VOLUME_INCOMPATIBLE: VolumeIncompatibleError,
  ERR_PATH_ESCAPE: PathEscapeError,
  ERR_INVALID_CONFIG: InvalidConfigError,
  ERR_QUOTA_EXCEEDED: QuotaExceededError,
  ERR_UNSUPPORTED_MOUNT: UnsupportedMountError,
  ERR_DISK_IMAGE: DiskImageError,
  ERR_CATALOG: CatalogError,
  ERR_FILE_SYSTEM: FileSystemError,
  ERR_ABORTED: VolumeError,
  ERR_INTERNAL: InternalError,
}

for (const errorClass of new Set([VolumeError, ...Object.values(classes)])) {
  Object.defineProperty(errorClass.prototype, 'name', {
    value: errorClass.name,
    configurable: true,
    writable: true,
  })
  Object.defineProperty(errorClass.prototype, CLASS, { value: errorClass.name })
}

function makeError(kind, code, message, details) {
  return new classes[kind](message, code, details)
}

function invalidConfig(field, problem, cause) {
  const code = 'ERR_INVALID_CONFIG'
  return makeError(code, code, `Invalid "${field}": ${problem}`, { field, cause: cause?.message })
}

module.exports = {
  makeError,
  invalidConfig,
  errorClasses: {
    VolumeError,
    VolumeNotFoundError,
    VolumeAlreadyExistsError,
    VolumeInUseError,
    AttachmentNotFoundError,
    VolumeIncompatibleError,
    PathEscapeError,
    InvalidConfigError,
    QuotaExceededError,
    UnsupportedMountError,
    DiskImageError,
    CatalogError,
    FileSystemError,
    InternalError,
  },
}
