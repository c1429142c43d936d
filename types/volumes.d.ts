import type { VolumeFs } from './files.js'
import type { SignalOption } from './options.js'

/** A directory of the host, or a disk image. */
export type VolumeKind = 'dir' | 'disk'
/** The values of the type `VolumeKind`. */
export declare const VolumeKind: { readonly Dir: 'dir'; readonly Disk: 'disk' }

/**
 * What `createVolume` creates.
 * @see docs/volumes.md#create
 */
export interface VolumeConfig {
  /** `'dir'`: a directory of the host. `'disk'`: an image with an ext4 file system. Default: `'dir'`. */
  kind?: VolumeKind | null
  /** The size of a disk in MiB, an integer from 5 to 2^24 (16 TiB). Required for `'disk'`, refused for `'dir'`. */
  sizeMib?: number | null
  /** The image of a disk: `'raw'` (a sparse file) or `'qcow2'`. Refused for `'dir'`. Default: `'raw'`. */
  format?: 'raw' | 'qcow2' | null
  /**
   * The most that a directory volume may take, in MiB, an integer from 0 to 2^32 - 1. 0 is unlimited. Refused for
   * `'disk'`. It stops writes of `VolumeFs`, and stops a guest only where the kernel enforces it. Default: unlimited.
   * @see docs/quotas.md
   */
  quotaMib?: number | null
  /** Strings by non-empty keys, at most 64 KiB together. Default: none. */
  labels?: Readonly<Record<string, string>> | null
}

/** An argument of `createVolume`. Of several, later values win; labels merge key by key. */
export type VolumeOption = VolumeConfig & SignalOption

/** Returns a `VolumeOption` with only this kind. */
export declare function withVolumeKind(kind: VolumeKind): VolumeOption
/** Returns a `VolumeOption` with only this disk size, in MiB. */
export declare function withVolumeSize(sizeMib: number): VolumeOption
/** Returns a `VolumeOption` with only this quota, in MiB. */
export declare function withVolumeQuota(quotaMib: number): VolumeOption
/** Returns a `VolumeOption` with only these labels. */
export declare function withVolumeLabels(labels: Readonly<Record<string, string>>): VolumeOption

/** Options of `listVolumes`. */
export interface ListOptions extends SignalOption {
  /** Lists only volumes that carry all of these labels. Default: all volumes. */
  labels?: Readonly<Record<string, string>> | null
}

/**
 * Creates a volume in the default home: `MSB_HOME`, else `~/.microsandbox`. A crash leaves a whole volume or none.
 *
 * @param name `[A-Za-z0-9][A-Za-z0-9._-]*`, at most 128 bytes, not ending in a dot
 * @throws {VolumeAlreadyExistsError} the name is taken
 * @throws {InvalidConfigError} the name or an option is invalid
 * @throws {VolumeInUseError} another operation on this name did not end within 5 seconds
 * @example
 * const volume = await createVolume('my-data', { quotaMib: 64, labels: { env: 'prod' } })
 * @see docs/volumes.md#create
 */
export declare function createVolume(name: string, ...options: VolumeOption[]): Promise<Volume>

/**
 * Looks a volume up and measures it. Measuring walks a directory volume, so it takes time for a large one.
 * @throws {VolumeNotFoundError} no volume has this name
 * @example
 * const { usedBytes, quotaMib } = await getVolume('my-data')
 * @see docs/volumes.md#look-up-and-list
 */
export declare function getVolume(name: string, options?: SignalOption): Promise<VolumeHandle>

/**
 * Returns all volumes, or those that carry the labels; newest first, the name as tie-break. Each is measured. Omits
 * catalog rows that no version of this package wrote; the process gets one `VolumeCatalogWarning` for each.
 * @example
 * for (const { name } of await listVolumes({ labels: { env: 'prod' } })) console.log(name)
 * @see docs/volumes.md#look-up-and-list
 */
export declare function listVolumes(options?: ListOptions): Promise<VolumeHandle[]>

/**
 * Deletes the data and the record of a volume.
 * @throws {VolumeNotFoundError} no volume has this name
 * @throws {VolumeInUseError} it is attached (`holders`), its image is locked by another program, a running sandbox of
 *   microsandbox has mounted it or may have (`sandboxes`), or another removal (`operation`) takes more than 5 seconds
 * @throws {FileSystemError} `EACCES`: another user owns a file in it; names the owner and a command that helps
 * @throws {CatalogError} microsandbox uses the home, and its catalog is unreadable or of an unknown version
 * @example
 * await removeVolume('my-data')
 * @see docs/volumes.md#remove
 */
export declare function removeVolume(name: string, options?: SignalOption): Promise<void>

/**
 * A volume that this process created. Its methods act on this very volume. Once it is removed they reject with a
 * `VolumeNotFoundError`, also if its name is used again.
 */
export declare class Volume {
  private constructor()
  /**
   * 32 hexadecimal digits, random and unique. A later volume of the same name has another id. A catalog that is lost
   * and rebuilt keeps it.
   */
  readonly id: string
  readonly name: string
  /** The absolute host path of the data directory. Of a disk volume, that directory holds the image. */
  readonly path: string
  /** The files of a directory volume. Of a disk volume, each operation rejects with an `InvalidConfigError`. */
  fs(): VolumeFs
  /** Removes this volume as `removeVolume` does, and never a later volume of its name. */
  remove(options?: SignalOption): Promise<void>
}

/**
 * A volume as it was at the lookup. Its methods act on this very volume. Once it is removed they reject with a
 * `VolumeNotFoundError`, also if its name is used again.
 */
export declare class VolumeHandle {
  private constructor()
  /**
   * 32 hexadecimal digits, random and unique. A later volume of the same name has another id. A catalog that is lost
   * and rebuilt keeps it.
   */
  readonly id: string
  readonly name: string
  /** The absolute host path of the data directory. Of a disk volume, that directory holds the image. */
  readonly path: string
  readonly kind: VolumeKind
  /** `null`: unlimited. */
  readonly quotaMib: number | null
  /**
   * Who enforced the quota at the lookup. `'kernel'`: for every writer. `'host'`: this package, for `VolumeFs` only,
   * so a guest can exceed it. `null`: unlimited.
   * @see docs/quotas.md#who-enforces-it
   */
  readonly quotaEnforcement: 'kernel' | 'host' | null
  /**
   * Bytes allocated on the host. Counts directories, and each hard-linked file once. Does not count mounts below,
   * what this process may not read, and directories that appear during the measurement. Of a disk: what its image
   * takes.
   */
  readonly usedBytes: number
  /** The virtual size of a disk volume in bytes; `null` for a directory volume. */
  readonly capacityBytes: number | null
  /** The image format of a disk volume, `'raw'` or `'qcow2'`; `null` for a directory volume. */
  readonly diskFormat: string | null
  /** The file system that a disk volume was created with, `'ext4'`; `null` for a directory volume. */
  readonly diskFstype: string | null
  readonly labels: Readonly<Record<string, string>>
  /** `null` if the catalog has no time, or one that no `Date` can hold. */
  readonly createdAt: Date | null
  /** The files of a directory volume. Of a disk volume, each operation rejects with an `InvalidConfigError`. */
  fs(): VolumeFs
  /** Removes this volume as `removeVolume` does, and never a later volume of its name. */
  remove(options?: SignalOption): Promise<void>
}
