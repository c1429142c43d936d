import type { Volume, VolumeHandle, VolumeKind } from './volumes.js'

/** What a mount shows to the guest: a host path, a volume, memory, or a disk image. */
export type MountKind = 'bind' | 'named' | 'tmpfs' | 'disk'
/** The values of the type `MountKind`. */
export declare const MountKind: {
  readonly Bind: 'bind'
  readonly Named: 'named'
  readonly Tmpfs: 'tmpfs'
  readonly Disk: 'disk'
}

/** Flags of a mount. Each is off by default. */
export interface MountFlags {
  /** Nothing can be written through the mount. Default: `false`. */
  readonly?: boolean | null
  /** Nothing on the mount can be executed. Default: `false`. */
  noexec?: boolean | null
  /** Set-user-id and set-group-id bits have no effect. Default: `false`. */
  nosuid?: boolean | null
  /** Device nodes cannot be opened. Default: `false`. */
  nodev?: boolean | null
}

/** Options of `Mount.bind`. */
export interface MountOptions extends MountFlags {
  /** How virtiofs presents owners and modes to the guest. For virtiofs only. Default: the runtime's. */
  statVirtualization?: 'strict' | 'relaxed' | 'off' | null
  /**
   * Which permissions virtiofs gives files on the host. For virtiofs only. `'mirror'` excludes `statVirtualization:
   * 'off'`. Default: the runtime's.
   */
  hostPermissions?: 'private' | 'mirror' | null
}

/** Options of `Mount.named` and `Mount.namedWith`. */
export interface NamedMountOptions extends MountOptions {
  /**
   * Mounts a directory or file of a directory volume instead of all of it: a relative path without `..` or control
   * characters, at most 4,095 bytes. Links are followed within the volume. A missing one is created as a directory if
   * the volume's mode is `'create'` or `'ensure-exists'`, else it is `ENOENT`. `attach` finds it once and holds a
   * descriptor. Default: all of the volume.
   * @see docs/mounts-and-runtimes.md#a-part-of-a-volume
   */
  subpath?: string | null
}

/** How `Mount.namedWith` finds or creates its volume. */
export interface NamedVolumeOptions {
  /**
   * `'existing'`: the volume must exist, and the options below are refused. `'create'`: it must not exist.
   * `'ensure-exists'`: it is created if missing, and must otherwise have these options, labels aside. Default:
   * `'existing'`.
   */
  mode?: 'existing' | 'create' | 'ensure-exists' | null
  /** See {@link VolumeConfig}. */
  kind?: VolumeKind | null
  /** See {@link VolumeConfig}. */
  sizeMib?: number | null
  /** See {@link VolumeConfig}. */
  format?: 'raw' | 'qcow2' | null
  /** See {@link VolumeConfig}. */
  quotaMib?: number | null
  /** See {@link VolumeConfig}. */
  labels?: Readonly<Record<string, string>> | null
}

/** Options of `Mount.tmpfs`. */
export interface TmpfsOptions extends MountFlags {
  /** The largest size in MiB, an integer from 1 to 2^32 - 1. Default: the runtime's. */
  sizeMib?: number | null
}

/** Options of `Mount.disk`. */
export interface DiskOptions extends MountFlags {
  /**
   * The format of the image. `'raw'` accepts any content. Default: from the extension `.raw`, `.img`, `.qcow2` or
   * `.vmdk`, which the content must not contradict; without one of these, from the content.
   * @see docs/disks.md#attach-a-disk-image-of-the-host
   */
  format?: 'raw' | 'qcow2' | 'vmdk' | null
  /**
   * The file system in the image, such as `ext4`, for the guest's mount command. Default: from its superblock.
   * Without it, an image with a partition table and no known file system is refused.
   */
  fstype?: string | null
}

/** A validated mount. Plain data, which survives `JSON.stringify` and `structuredClone`. */
export interface MountConfig {
  readonly kind: MountKind
  /** The absolute host path of a bind mount. */
  readonly bind: string | null
  /** The volume name of a named mount. */
  readonly named: string | null
  /**
   * The id of that volume, if the mount was built from a `Volume` or `VolumeHandle`. `attach` then rejects with a
   * `VolumeNotFoundError` if the name has no volume or another one. `null`: the volume that has the name.
   */
  readonly volumeId: string | null
  /** The part of the volume that is mounted, without `.` and doubled slashes. `null`: all of it. */
  readonly subpath: string | null
  readonly namedMode: 'existing' | 'create' | 'ensure-exists' | null
  /** Only for modes that may create the volume. */
  readonly namedKind: VolumeKind | null
  readonly quotaMib: number | null
  /** The labels of a volume that is created. */
  readonly labels: Readonly<Record<string, string>> | null
  readonly tmpfs: boolean
  /** The absolute host path of a disk image. */
  readonly disk: string | null
  /** The format of a disk image, if the caller gave it, or of a disk volume to create. */
  readonly format: 'raw' | 'qcow2' | 'vmdk' | null
  readonly fstype: string | null
  readonly readonly: boolean
  readonly noexec: boolean
  readonly nosuid: boolean
  readonly nodev: boolean
  readonly sizeMib: number | null
  readonly statVirtualization: 'strict' | 'relaxed' | 'off' | null
  readonly hostPermissions: 'private' | 'mirror' | null
}

/**
 * Builds mounts. Each method throws an `InvalidConfigError` that names the invalid field.
 * @example
 * await attach('worker', { '/data': Mount.named('my-data', { readonly: true }), '/tmp': Mount.tmpfs({ sizeMib: 64 }) })
 * @see docs/mounts-and-runtimes.md#mounts
 */
export declare const Mount: {
  /** Mounts a file or directory of the host. Resolves a relative path at once. */
  bind(hostPath: string, options?: MountOptions | null): MountConfig
  /** Mounts an existing volume: the one that has the name at `attach`, or exactly this `Volume` or `VolumeHandle`. */
  named(volume: string | Volume | VolumeHandle, options?: NamedMountOptions | null): MountConfig
  /** Mounts a volume that may be created for it. A `Volume` or `VolumeHandle` needs mode `'existing'`. */
  namedWith(
    volume: string | Volume | VolumeHandle,
    options?: NamedMountOptions | null,
    named?: NamedVolumeOptions | null,
  ): MountConfig
  /** Mounts an empty file system in memory. */
  tmpfs(options?: TmpfsOptions | null): MountConfig
  /** Mounts a disk image of the host, which `attach` checks. Resolves a relative path at once. */
  disk(hostPath: string, options?: DiskOptions | null): MountConfig
}

/** A mount whose source `attach` found. */
export interface ResolvedMount {
  readonly guestPath: string
  readonly kind: MountKind
  /**
   * What the guest sees, as a host path; `null` for a tmpfs. Do not open the path of a `subpath`: a guest that may
   * write the volume can replace it. The methods of `Attachment` name it safely.
   */
  readonly hostPath: string | null
  /** The volume of a named mount. */
  readonly volume: string | null
  /** The part of the volume that is mounted. `null`: all of it. */
  readonly subpath: string | null
  readonly format: 'raw' | 'qcow2' | 'vmdk' | null
  readonly fstype: string | null
  readonly readonly: boolean
  readonly noexec: boolean
  readonly nosuid: boolean
  readonly nodev: boolean
  readonly sizeMib: number | null
  readonly statVirtualization: 'strict' | 'relaxed' | 'off' | null
  readonly hostPermissions: 'private' | 'mirror' | null
}
