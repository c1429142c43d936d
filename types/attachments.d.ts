import type { MountConfig, ResolvedMount } from './mounts.js'
import type { SignalOption } from './options.js'
import type {
  BubblewrapOptions,
  ByPathOption,
  DockerOptions,
  KubernetesClaims,
  KubernetesMounts,
  KubernetesOptions,
  MicrosandboxOptions,
  OciMount,
  QemuMounts,
  QemuOptions,
  SandboxBuilderLike,
} from './runtimes.js'

/**
 * Attaches mounts to a sandbox: all of them, or none. Named volumes are found or created by their mode, and cannot be
 * removed until `detach()` or the end of the process `pid`. A directory can be attached many times; a disk has one
 * writer or many readers. A failure removes the volumes that this call created.
 *
 * @param sandbox the name of the sandbox, 1 to 255 bytes, for messages
 * @param mounts by guest path: absolute, not `/`, without `..`, control characters, `:`, `;` or `,`; not `/proc`,
 *   `/sys` or `/dev`, nor below the first two
 * @throws {InvalidConfigError} a guest path, mount or source is invalid, or an entry at a mount point below another
 *   mount is a link or of the wrong kind
 * @throws {VolumeNotFoundError} a volume with mode `'existing'` is missing
 * @throws {VolumeAlreadyExistsError} a volume with mode `'create'` exists
 * @throws {VolumeIncompatibleError} a volume with mode `'ensure-exists'` differs; see `differences`
 * @throws {VolumeInUseError} a disk is attached elsewhere (`holders`) or locked by another program, and one of the
 *   two writes; or another operation creates or removes a volume for 5 seconds
 * @throws {DiskImageError} a disk image is damaged, incomplete, partitioned, names another file, or cannot be written
 * @throws {FileSystemError} a bind source, a disk image or a `subpath` is missing or cannot be examined
 * @throws {PathEscapeError} a `subpath` leads out of its volume
 * @throws {QuotaExceededError} a missing `subpath` cannot be created
 * @example
 * await using mounts = await attach('worker', { '/data': Mount.named('my-data') })
 * spawn('bwrap', [...system, ...mounts.toBubblewrap(), 'node', '/data/main.js'])
 * @see docs/mounts-and-runtimes.md#attachments
 */
export declare function attach(
  sandbox: string,
  mounts: Readonly<Record<string, MountConfig>>,
  options?: AttachOptions,
): Promise<Attachment>

/** Options of `attach`. */
export interface AttachOptions extends SignalOption {
  /** The process whose end frees the volumes. Default: this process. */
  pid?: number | null
}

/**
 * Lists the attachments in the default home that have not ended, of all processes; newest first, the sandbox's name
 * as tie-break. Does not wait for writers of the catalog, except of another copy of this package in this process.
 * @throws {VolumeNotFoundError} no volume has the name in `volume`
 * @throws {InvalidConfigError} an option is invalid
 * @example
 * for (const { id, sandbox, owner } of await attachments({ volume: 'my-data' })) console.log(id, sandbox, owner)
 * @see docs/mounts-and-runtimes.md#who-holds-what
 */
export declare function attachments(options?: AttachmentsOptions): Promise<AttachmentInfo[]>

/** Options of `attachments`. */
export interface AttachmentsOptions extends SignalOption {
  /** Lists only attachments of this volume. Default: all. */
  volume?: string | null
  /** Lists only attachments to this sandbox. Default: all. */
  sandbox?: string | null
}

/** An attachment as `attachments` lists it. Plain data, frozen. */
export interface AttachmentInfo {
  /** For {@link detach}. A decimal number that may be too large for a JavaScript number. */
  readonly id: string
  readonly sandbox: string
  /** The process whose end frees the volumes. */
  readonly pid: number
  /**
   * `'running'`: the process runs. `'unknown'`: it cannot be seen from here, mostly because it is in another PID
   * namespace (a container). Only `detach` or a restart of the machine ends such an attachment.
   */
  readonly owner: 'running' | 'unknown'
  /** `null` if the catalog has a time that no `Date` can hold. */
  readonly createdAt: Date | null
  /** The volumes among its mounts, directories and disks, in the order of the mounts. */
  readonly volumes: readonly {
    readonly name: string
    /** `null` if an earlier version of this package made the attachment. */
    readonly guestPath: string | null
    /** The part of the volume that is mounted. `null`: all of it. */
    readonly subpath: string | null
    readonly readonly: boolean
  }[]
  /** The disk images of the host among its mounts, except those that an earlier version attached. */
  readonly disks: readonly {
    readonly hostPath: string
    readonly guestPath: string | null
    readonly readonly: boolean
  }[]
}

/**
 * Ends an attachment of any process by its id. Unmounts what `mountInto` mounted from this mount namespace. A sandbox
 * that still runs keeps its mounts. The process that attached a disk keeps it locked until it detaches or ends.
 * @throws {AttachmentNotFoundError} no attachment has this id, or it has ended
 * @throws {FileSystemError} `EBUSY`: another mount covers one of `mountInto`; the attachment stays
 * @throws {VolumeInUseError} its process runs, and `force` is not set; or `mountInto` or `unmount` runs for 5 seconds
 * @throws {InvalidConfigError} `id` is malformed, or an option is invalid
 * @see docs/mounts-and-runtimes.md#who-holds-what
 */
export declare function detach(id: string, options?: DetachOptions): Promise<void>

/** Options of `detach`. */
export interface DetachOptions extends SignalOption {
  /** Ends the attachment even if its process runs (`owner` is `'running'`). Default: `false`. */
  force?: boolean | null
}

/**
 * The mounts of one sandbox, held until `detach()` or the end of its process. The `to…` methods render them for a
 * runtime. After `detach()` they throw an `InvalidConfigError` with the field `attachment`.
 * @see docs/mounts-and-runtimes.md
 */
export declare class Attachment implements AsyncDisposable {
  private constructor()
  /** The id that `attachments` lists. */
  readonly id: string
  readonly sandbox: string
  /** The process whose end frees the volumes. `handOver` changes it. */
  readonly pid: number
  /** Parents before their children. */
  readonly mounts: readonly ResolvedMount[]
  /**
   * Returns arguments for `bwrap` 0.7 or later. Put them after the arguments that make the sandbox's root. Mounts are
   * `nosuid` and `nodev`. They take CAP_SYS_ADMIN from a sandbox that root starts. A `subpath` is bound by its
   * descriptor (bubblewrap 0.10 or later, or Debian's 0.8): pass `descriptors()` in `stdio`.
   * @throws {UnsupportedMountError} a mount is a disk, is `noexec`, or has a virtiofs option
   * @throws {InvalidConfigError} `firstFd` is invalid or missing, or the attachment was detached
   * @example
   * spawn('bwrap', [...root, ...mounts.toBubblewrap(), 'sh'], { stdio: 'inherit' })
   * @see docs/mounts-and-runtimes.md#bubblewrap
   */
  toBubblewrap(options?: BubblewrapOptions | null): string[]
  /**
   * Returns the descriptor numbers, in this process, of the mounts with a `subpath`, in the order of the mounts. They
   * allow no I/O. `detach()` closes them; do not close them yourself.
   * @throws {InvalidConfigError} the attachment was detached
   */
  descriptors(): number[]
  /**
   * Returns the `mounts` of the `config.json` of an OCI runtime (runc, crun, containerd).
   * @throws {UnsupportedMountError} a mount is a disk, has a virtiofs option, or a `subpath` without `byPath`
   * @throws {InvalidConfigError} an option is invalid, or the attachment was detached
   * @see docs/mounts-and-runtimes.md#runc
   */
  toOci(options?: ByPathOption | null): OciMount[]
  /**
   * Returns arguments for QEMU 7.2 or later with PCI. Disks are virtio-blk devices, directories virtiofs shares, a
   * tmpfs is the guest's own. Start a virtiofs server per entry of `virtiofs` first. The guest's root runs each
   * `command`. Start QEMU as this user or root, before `detach()`, while this process lives, and without `-m` if
   * directories are mounted.
   * @throws {UnsupportedMountError} a mount is a single file, a `subpath` without `byPath`, or has
   *   `statVirtualization` `'strict'` or `'relaxed'`, or `hostPermissions` `'private'`
   * @throws {InvalidConfigError} an option is invalid, `socketDir` is missing, or the attachment was detached
   * @see docs/mounts-and-runtimes.md#qemu
   */
  toQemu(options?: QemuOptions | null): QemuMounts
  /**
   * Returns arguments for `docker run` or `podman run` and `create`. Mounts below a source are not included. A tmpfs
   * is `nosuid` and `nodev`, and executable unless it is `noexec`. SELinux labels are not changed: use
   * `--security-opt label=disable`, or label the volume.
   * @throws {UnsupportedMountError} a mount is a disk, has a virtiofs option, or a `subpath` without `byPath`; a host
   *   path has a control character; or, for Docker, a bind mount or volume is `noexec`, `nosuid` or `nodev`
   * @throws {InvalidConfigError} an option is invalid, or the attachment was detached
   * @see docs/mounts-and-runtimes.md#docker
   */
  toDocker(options?: DockerOptions | null): string[]
  /**
   * Returns arguments for `msb run` and `msb create` of microsandbox 0.6. Releases the `flock` on disks, which
   * microsandbox takes itself, unless `handOver` is `false`. Start the sandbox as this user while this process lives.
   * With `byName`, run `msb` with `MSB_HOME` set to this home.
   * @throws {UnsupportedMountError} a host path has `,`, `:` or `;`; a vmdk is to be written; a `subpath` or a qcow2
   *   volume is to be mounted by name; or microsandbox would not find a volume by its name
   * @throws {InvalidConfigError} an option is invalid, or the attachment was detached
   * @throws {CatalogError} by name: microsandbox's catalog is locked, unreadable, or of an unknown version
   * @see docs/mounts-and-runtimes.md#microsandbox
   */
  toMicrosandbox(options?: MicrosandboxOptions | null): string[]
  /**
   * Adds each mount to a `SandboxBuilder` of microsandbox's TypeScript SDK 0.6 (`builder.volume(…)`), and returns it.
   * Adds none if one is unsupported. Then releases the `flock` on disks as `toMicrosandbox` does.
   * @throws {UnsupportedMountError} as `toMicrosandbox`
   * @throws {InvalidConfigError} an option is invalid, the attachment was detached, or the builder lacks a method
   *   that a mount needs (field `builder`)
   * @throws {CatalogError} as `toMicrosandbox`
   * @see docs/mounts-and-runtimes.md#microsandbox
   */
  configureSandbox<Builder extends SandboxBuilderLike>(
    builder: Builder,
    options?: MicrosandboxOptions | null,
  ): Builder
  /**
   * Returns `volumes` and `volumeMounts` for a Kubernetes pod on a node that has these paths. With `claims`, it also
   * returns the manifests of PersistentVolumes and claims to apply first. A `readonly` mount needs Kubernetes 1.31,
   * for `recursiveReadOnly`. Kubernetes does not enforce the size of a directory.
   * @throws {UnsupportedMountError} a mount is a disk, is `noexec`, `nosuid` or `nodev`, or has a virtiofs option; or
   *   the name of a volume is too long for a claim
   * @throws {InvalidConfigError} an option is invalid, `storageMib` is missing, or the attachment was detached
   * @see docs/mounts-and-runtimes.md#kubernetes
   */
  toKubernetes(options: KubernetesOptions & { claims: true }): KubernetesClaims
  toKubernetes(options?: (KubernetesOptions & { claims?: false | null }) | null): KubernetesMounts
  /**
   * Gives the attachment to another process, such as the sandbox. The volumes are then held until that process ends,
   * also if this one ends first. This process keeps its descriptors and disk locks until `detach()`, until it ends,
   * or until its next `attach` or removal notices the end of the other process.
   *
   * @param pid a running process, by its number in this process's PID namespace
   * @throws {InvalidConfigError} field `pid`: no such process, or the id of a thread; the attachment stays as it was
   * @throws {AttachmentNotFoundError} it was detached, or its process has ended
   * @see docs/mounts-and-runtimes.md#a-sandbox-that-outlives-your-process
   */
  handOver(pid: number, options?: SignalOption): Promise<void>
  /**
   * Mounts on the host, below a root directory that you prepare for bubblewrap, runc or Podman: all mounts, or none.
   * Needs Linux 5.12 and CAP_SYS_ADMIN over the mount namespace.
   *
   * **Warning: the host's kernel reads a disk's file system as a guest left it. A hostile image may take over the
   * host.** Use it only for disks that no virtual machine wrote, with `fstype`. Unmount before you delete `rootfs`.
   *
   * @param rootfs an existing directory; its own links are followed. Not one that holds volumes or their catalog, nor
   *   one below them
   * @throws {InvalidConfigError} `rootfs` is invalid, or the attachment (field `attachment`) is mounted or was
   *   detached
   * @throws {UnsupportedMountError} a mount has a virtiofs option, a disk is not raw, its file system is unknown or
   *   names other devices, or the kernel is too old
   * @throws {PathEscapeError} a link is at a mount point or above it
   * @throws {DiskImageError} the kernel finds the disk's file system damaged
   * @throws {VolumeInUseError} another program has locked a disk since `attach`, or another call mounts or unmounts
   *   for 5 seconds
   * @throws {FileSystemError} `EPERM`, `EACCES`: no right to mount; `ENOTDIR`, `EISDIR`: the entry at a mount point
   *   is of the wrong kind; `path` is the guest path
   * @see docs/mounts-and-runtimes.md#mountinto
   */
  mountInto(rootfs: string, options?: SignalOption): Promise<void>
  /**
   * Unmounts what `mountInto` mounted, the last mounts first, with what other programs mounted below. A process or a
   * sandbox that still uses a mount keeps it until it ends. Created directories stay. Does nothing if nothing is
   * mounted.
   * @throws {FileSystemError} `EBUSY`: another mount covers one of them; the others are gone
   * @throws {InvalidConfigError} the mounts are in another mount namespace
   * @throws {VolumeInUseError} another call of this process mounts or unmounts the attachment for 5 seconds
   */
  unmount(options?: SignalOption): Promise<void>
  /**
   * Unmounts what `mountInto` mounted from this mount namespace, and frees the volumes. A second call does nothing.
   * @throws {VolumeInUseError} another call of this process mounts or unmounts the attachment for 5 seconds
   * @throws {FileSystemError} `EBUSY`: another mount covers one of `mountInto`; the attachment stays
   */
  detach(options?: SignalOption): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}
