/**
 * The class of every error of this package, except the reason of an abort signal. `instanceof` also accepts the
 * errors of other copies of this package in the process.
 * @see docs/errors.md
 */
export declare class VolumeError extends Error {
  /** A stable code: `ERR_…`, or of a `FileSystemError` Node's own, such as `ENOENT`. */
  readonly code: string
  /** The name of the volume that the error is about, if it is about one. */
  readonly volume?: string
  /**
   * The path that the error is about, as the caller gave it, or the whole path of an entry below it. In a volume it
   * begins at the volume's root.
   */
  readonly path?: string
  /** What `JSON.stringify` writes: `name`, `message`, all other properties, and the message of the `cause`. */
  toJSON(): { name: string; message: string; code: string; [property: string]: unknown }
}
/** No volume has this name, or the volume was removed. */
export declare class VolumeNotFoundError extends VolumeError {
  readonly code: 'ERR_VOLUME_NOT_FOUND'
}
/** A volume of this name exists. */
export declare class VolumeAlreadyExistsError extends VolumeError {
  readonly code: 'ERR_VOLUME_ALREADY_EXISTS'
}
/**
 * The volume or disk is attached, locked, or changed by another operation.
 * @see docs/errors.md#a-volume-in-use
 */
export declare class VolumeInUseError extends VolumeError {
  readonly code: 'ERR_VOLUME_IN_USE'
  /** A long operation of another caller on the volume. Missing if it is attached, or was changed only for a moment. */
  readonly operation?: 'remove'
  /** The sandboxes that hold it. Missing if another operation or another program is in the way. */
  readonly sandboxes?: string[]
  /** The attachments that hold it, sorted by sandbox. Missing where `sandboxes` is. */
  readonly holders?: {
    /** For `detach`. */
    id: string
    sandbox: string
    /** The process whose end frees the volume. */
    pid: number
    /** See {@link AttachmentInfo.owner}. */
    owner: 'running' | 'unknown'
    /** Whether the sandbox only reads it. */
    readonly: boolean
  }[]
}
/** No attachment has this id, or it has ended. */
export declare class AttachmentNotFoundError extends VolumeError {
  readonly code: 'ERR_ATTACHMENT_NOT_FOUND'
}
/** A volume that mode `'ensure-exists'` found differs from the options. */
export declare class VolumeIncompatibleError extends VolumeError {
  readonly code: 'ERR_VOLUME_INCOMPATIBLE'
  readonly differences: { field: 'kind' | 'quotaMib' | 'sizeMib' | 'format'; wanted: string; actual: string }[]
}
/** A path or a symbolic link leads out of the volume, or out of the tree that is copied. */
export declare class PathEscapeError extends VolumeError {
  readonly code: 'ERR_PATH_ESCAPE'
}
/** An argument or an option is invalid. */
export declare class InvalidConfigError extends VolumeError {
  readonly code: 'ERR_INVALID_CONFIG'
  /** The name of the argument or option. */
  readonly field: string
}
/** A write would exceed the volume's quota. */
export declare class QuotaExceededError extends VolumeError {
  readonly code: 'ERR_QUOTA_EXCEEDED'
}
/** The runtime, or the kernel, cannot make a mount as it is configured. */
export declare class UnsupportedMountError extends VolumeError {
  readonly code: 'ERR_UNSUPPORTED_MOUNT'
}
/** A disk image is damaged, incomplete, or not what it must be. */
export declare class DiskImageError extends VolumeError {
  readonly code: 'ERR_DISK_IMAGE'
}
/**
 * The catalog of the home, or that of microsandbox, is damaged, locked, or of another version.
 * @see docs/errors.md#a-catalog-error
 */
export declare class CatalogError extends VolumeError {
  readonly code: 'ERR_CATALOG'
}
/**
 * A system call failed. `code` is Node's own: `ENOENT`, `EISDIR` …
 * @see docs/errors.md#a-file-system-error
 */
export declare class FileSystemError extends VolumeError {
  readonly errno: number
  readonly syscall: string
  /** The destination of an operation that has a source and a destination, as the caller gave it. */
  readonly dest?: string
}
/** A defect of this package. */
export declare class InternalError extends VolumeError {
  readonly code: 'ERR_INTERNAL'
}
