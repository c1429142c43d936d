/// <reference types="node" />

import type { Readable, Writable } from 'node:stream'

// -- Lifecycle --------------------------------------------------------------------------------------------

/** Every function that touches the disk takes a signal. */
export interface SignalOption {
  /**
   * Cancels the operation. Before its point of no return it is undone and the promise rejects with the
   * signal's reason; a signal that fires later comes too late, and the operation completes. One of another realm or a
   * polyfill is taken as well, any object with `aborted`, as Node's own functions do; where it has no reason, the promise
   * rejects with an `AbortError`. Default: none.
   */
  signal?: AbortSignal | null
}

export type VolumeKind = 'dir' | 'disk'
export declare const VolumeKind: { readonly Dir: 'dir'; readonly Disk: 'disk' }

/** What a volume is to be. */
export interface VolumeConfig {
  /**
   * `'dir'`: a directory of the host. `'disk'`: an image with an ext4 file system, for virtual machines. Default:
   * `'dir'`.
   */
  kind?: VolumeKind | null
  /** A disk volume's size in MiB, an integer from 5 to 2^24 (16 TiB); it must be given, and is refused for `'dir'`. */
  sizeMib?: number | null
  /** A disk volume's image: `'raw'`, a sparse file, or `'qcow2'`; refused for `'dir'`. Default: `'raw'`. */
  format?: 'raw' | 'qcow2' | null
  /**
   * The most that a directory volume may take, in MiB, an integer from 0 to 2^32 - 1; 0 is unlimited. Refused
   * for `'disk'`. Default: unlimited.
   *
   * What is written through `VolumeFs` never takes the volume over it, whatever the guest wrote before; writers then
   * take turns. On btrfs whose quotas are enabled (`btrfs quota enable`), and where this process may set a limit
   * (root), the kernel holds the guest to it as well, see {@link VolumeHandle.quotaEnforcement}. The kernel counts
   * the file system's own needs too, so a host write is refused up to 128 KiB and 1/64 of its length earlier there.
   */
  quotaMib?: number | null
  /** Strings by non-empty keys, at most 64 KiB together. Default: none. */
  labels?: Readonly<Record<string, string>> | null
}

/** One or several are given to `createVolume`: later values win, labels merge key by key. */
export type VolumeOption = VolumeConfig & SignalOption

export declare function withVolumeKind(kind: VolumeKind): VolumeOption
export declare function withVolumeSize(sizeMib: number): VolumeOption
export declare function withVolumeQuota(quotaMib: number): VolumeOption
export declare function withVolumeLabels(labels: Readonly<Record<string, string>>): VolumeOption

export interface ListOptions extends SignalOption {
  /** Only volumes that carry all of these. Default: all volumes. */
  labels?: Readonly<Record<string, string>> | null
}

/**
 * Creates a volume in the default home: `MSB_HOME`, else `~/.microsandbox`.
 *
 * @param name `[A-Za-z0-9][A-Za-z0-9._-]*`, at most 128 bytes, not ending in a dot
 * @throws {VolumeAlreadyExistsError} the name is taken
 * @throws {InvalidConfigError} the name or an option is not acceptable
 * @throws {VolumeInUseError} another operation on this name did not end within 5 seconds
 */
export declare function createVolume(name: string, ...options: VolumeOption[]): Promise<Volume>

/**
 * Looks a volume up and measures it.
 * @throws {VolumeNotFoundError} there is none of that name
 */
export declare function getVolume(name: string, options?: SignalOption): Promise<VolumeHandle>

/**
 * All volumes, or those that carry the labels; newest first, name as tie-break. A row of the catalog that no version
 * of this package wrote is left out, and the process gets a `VolumeCatalogWarning` for it, once.
 */
export declare function listVolumes(options?: ListOptions): Promise<VolumeHandle[]>

/**
 * Deletes a volume's data and its record.
 * What other users own in a volume of an ordinary user is deleted where /etc/subuid grants their ids to the user and
 * `unshare` (util-linux 2.38) and `newuidmap` are installed; else it is a `FileSystemError` (`EACCES`) that names the
 * owner and a command that helps.
 * @throws {VolumeNotFoundError} there is none of that name
 * @throws {VolumeInUseError} it is attached; `holders` tells to what. Or another program has locked its image, or a
 *   running sandbox of microsandbox, in `sandboxes`, has mounted it, or may have. Or another operation removes it and was
 *   not done within 5 seconds; `operation` tells so
 * @throws {CatalogError} a microsandbox uses the home, and its catalog cannot be read or is of an unknown version
 */
export declare function removeVolume(name: string, options?: SignalOption): Promise<void>

/**
 * Attaches mounts to a sandbox: all of them, or none. Named volumes are provisioned by their mode, sources are
 * checked, and the volumes cannot be removed until `detach()` or the end of the process `pid`. A directory is
 * shared; a disk has one writer or any number of readers. On a failure, volumes that this call created are
 * removed again; a process that is killed meanwhile may leave one, whole and attached to nothing. Of several processes
 * that ensure one volume at once each gets it, and it is made once.
 *
 * @param sandbox the sandbox's name, 1 to 255 bytes, for messages
 * @param mounts by guest path: absolute, not `/`, without `..`, control characters, `:`, `;` or `,`; not `/proc`,
 *   `/sys` or `/dev`, nor below the first two
 * @throws {InvalidConfigError} a guest path, a mount or a source is not acceptable, or what stands at a mount point
 *   below another mount is a link or otherwise unfit
 * @throws {VolumeNotFoundError} a volume with mode `existing` is missing
 * @throws {VolumeAlreadyExistsError} a volume with mode `create` is there
 * @throws {VolumeIncompatibleError} a volume with mode `ensure-exists` differs; `differences` says how
 * @throws {VolumeInUseError} a disk is attached elsewhere (`holders` tells to what) or locked by another program,
 *   and one of the two writes; or a volume to be created is being created or removed elsewhere for 5 seconds
 * @throws {DiskImageError} a disk image is not what it must be, is damaged, names another file, lacks a part of its file
 *   system, has partitions instead of one, or is to be written and is a streamOptimized vmdk
 * @throws {FileSystemError} the source of a bind mount, a disk image or a `subpath` is missing or cannot be looked at
 * @throws {PathEscapeError} a `subpath` leads outside its volume
 * @throws {QuotaExceededError} a `subpath` that is missing cannot be made
 */
export declare function attach(
  sandbox: string,
  mounts: Readonly<Record<string, MountConfig>>,
  options?: AttachOptions,
): Promise<Attachment>

export interface AttachOptions extends SignalOption {
  /** The process whose end frees the volumes. Default: this process. */
  pid?: number | null
}

/**
 * The attachments in the default home that have not ended, whichever process made them; newest first, the sandbox's
 * name as tie-break. It does not wait for anybody who writes the catalog, but for two copies of this package in one
 * process.
 * @throws {VolumeNotFoundError} there is no volume of the name that is asked for
 * @throws {InvalidConfigError} an option is not acceptable
 */
export declare function attachments(options?: AttachmentsOptions): Promise<AttachmentInfo[]>

export interface AttachmentsOptions extends SignalOption {
  /** Only those of this volume. Default: of any, or none. */
  volume?: string | null
  /** Only those to this sandbox. Default: to any. */
  sandbox?: string | null
}

/** An attachment as `attachments` lists it: plain data, frozen. */
export interface AttachmentInfo {
  /** For {@link detach}. A decimal number too large for a JavaScript number. */
  readonly id: string
  readonly sandbox: string
  /** The process whose end frees the volumes. */
  readonly pid: number
  /**
   * `'running'`: that process runs. `'unknown'`: it cannot be seen from here, mostly because `pid` is a number of
   * another PID name space, a container's; then only `detach` ends the attachment, or a restart of the machine.
   */
  readonly owner: 'running' | 'unknown'
  /** `null` where the catalog has a time that no `Date` can hold. */
  readonly createdAt: Date | null
  /** The volumes among its mounts, directories and disks, in the order of the mounts. */
  readonly volumes: readonly {
    readonly name: string
    /** `null` where an earlier version of this package made the attachment. */
    readonly guestPath: string | null
    /** The part of the volume that is mounted; `null` for all of it. */
    readonly subpath: string | null
    readonly readonly: boolean
  }[]
  /** The disk images of the host among its mounts. Those that an earlier version attached are not listed. */
  readonly disks: readonly {
    readonly hostPath: string
    readonly guestPath: string | null
    readonly readonly: boolean
  }[]
}

/**
 * Ends an attachment by its id, whichever process made it: one that was forgotten, or whose container is gone. It
 * unmounts what `mountInto` mounted from this mount name space, and frees the volumes for others; in a sandbox that
 * still runs nothing is unmounted, it goes on with what it has. The process that attached a disk image keeps it locked
 * until it detaches or ends.
 * @throws {AttachmentNotFoundError} there is none of that id, or none any more
 * @throws {FileSystemError} `EBUSY`: another mount covers one that `mountInto` made; the attachment stays
 * @throws {VolumeInUseError} its process is seen running, and `force` is not set; or `mountInto` or `unmount` is at it
 *   for 5 seconds
 * @throws {InvalidConfigError} `id` is no attachment's id, or an option is not acceptable
 */
export declare function detach(id: string, options?: DetachOptions): Promise<void>

export interface DetachOptions extends SignalOption {
  /** End it although its process is seen running (`owner` is `'running'`). Default: `false`. */
  force?: boolean | null
}

export interface VolumeStoreOptions extends SignalOption {
  /**
   * The home directory, made (mode 0700) where it is missing. Default: `MSB_HOME`, which must be an absolute path, else
   * `~/.microsandbox`. A path that begins with `~` is refused: only a shell expands it.
   */
  home?: string | null
  /**
   * `'full'`: a volume that was created or removed is so on disk, catalog and directories. `'fast'` does not wait
   * for the directories: after a power cut, never after a crash of the process, a volume may lack its directory, a
   * directory its record or some of its files, or a new disk its file system. `VolumeStore.check` tells all of that but
   * the last two, and mends it so that every name can be used. Files are on disk when they were written with `durable`.
   * Default: `'full'`.
   */
  durability?: 'full' | 'fast' | null
  /**
   * How many copies (`copy`, `copyIn`, `copyOut`) that this store was asked for work at the same time, an integer from 1
   * to 64. More of them take turns, a twentieth of a second each, in which a copy uses up to four threads. Other
   * operations have threads of their own and do not wait for copies. A copy that waits for another writer of a volume
   * with a quota is not counted. Only 16 copies of one volume take turns, and only 128 of all stores of a process: the
   * 17th of a volume waits until one of that volume's ends, and the 129th until any does. Default: 4.
   */
  maxConcurrentCopies?: number | null
  /**
   * Consents to a home that other users of the host may use, as a Kubernetes `fsGroup` home is: then nobody's rights on
   * it are refused, reported or changed. Without it, what is made is private (mode 0700), a `volumes` or `db` directory of
   * this user on which others have rights is reported once, by a `VolumeHomeWarning`, and a home is refused if it, or its
   * `volumes` or `db`, belongs to another user who is not root, or may be written by all users or by one that an access
   * control list names (the home itself: unless it has the sticky bit). Default: whether the environment has
   * `SANDBOX_VOLUMES_SHARED=1`.
   */
  shared?: boolean | null
}

export interface CheckOptions extends SignalOption {
  /** The home directory; one that does not exist has no problems. Default: `MSB_HOME`, else `~/.microsandbox`. */
  home?: string | null
  /** Mend what can be mended. Default: `false`, which only reports. */
  repair?: boolean | null
  /** Neither report nor change other users' rights on the home; see {@link VolumeStoreOptions.shared}. */
  shared?: boolean | null
}

/** What `VolumeStore.check` found. */
export interface VolumeProblem {
  /**
   * - `catalog-damaged`: the catalog is broken, lacks tables, or is no file. Mended by keeping it aside, under the name
   *   that `message` then tells, and finding the volumes again by their directories, without their quotas and labels.
   *   One that has the tables of this version and another version's number gets its number back, and loses nothing.
   * - `catalog-missing`: there are volumes but no catalog. Mended in the same way, as opening the store does.
   * - `open-to-others`: other users of the host have rights on a directory of the home. Mended by taking them away, where
   *   it is this user's. A home that others may write is not looked into further until then.
   * - `unknown-directory`: the catalog does not know a directory. Mended by making it a volume, without quota and labels.
   * - `missing-directory`: a volume's directory is gone. Mended by removing the volume, unless it is attached.
   * - `unusable-row`: no version of this package wrote this row. Mended by striking it out.
   * - `incomplete-operation`: an operation did not come to its end. Mended by finishing or undoing it, as opening the store does.
   *   The id of a volume that is gone counts as one, and is deleted.
   * - `bad-image`: a disk volume's image is missing or damaged. Left as it is.
   * - `unrecognized-entry`: something in the volumes directory is no volume. Left as it is, but what stands in place of a directory
   *   of the store's own (`.ids`, `.staging`, `.trash`, `.locks`) is moved out of the way, to where `message` then tells.
   */
  readonly kind:
    | 'catalog-damaged'
    | 'catalog-missing'
    | 'unknown-directory'
    | 'open-to-others'
    | 'missing-directory'
    | 'unusable-row'
    | 'incomplete-operation'
    | 'bad-image'
    | 'unrecognized-entry'
  /** The volume's name, where it is about one. */
  readonly volume: string | null
  readonly path: string
  readonly message: string
  /** Whether it was mended. */
  readonly repaired: boolean
}

/** The volumes of one home directory. The module's functions do the same on the default home. */
export declare class VolumeStore {
  private constructor()
  /**
   * Opens a home, and finishes or undoes what a process that died there had begun. Where the catalog was deleted, the
   * volumes are found again by their directories, with their ids, and without their quotas and labels.
   * @throws {CatalogError} the catalog is damaged (`VolumeStore.check` mends it), locked for 5 seconds, or of a newer
   *   version
   */
  static open(options?: VolumeStoreOptions): Promise<VolumeStore>
  /**
   * Looks a home over for what a person's hands or an old crash left, and mends it where `repair` is set. Nothing is
   * ever deleted that may hold data: a damaged catalog is kept aside, an unknown directory becomes a volume. The
   * catalog is opened for it, which brings one of an earlier version up to date.
   * @throws {CatalogError} the catalog is locked for 5 seconds, or of a newer version, which stays as it is
   */
  static check(options?: CheckOptions): Promise<VolumeProblem[]>
  /** The home directory's absolute path. */
  readonly home: string
  createVolume(name: string, ...options: VolumeOption[]): Promise<Volume>
  getVolume(name: string, options?: SignalOption): Promise<VolumeHandle>
  listVolumes(options?: ListOptions): Promise<VolumeHandle[]>
  removeVolume(name: string, options?: SignalOption): Promise<void>
  attach(
    sandbox: string,
    mounts: Readonly<Record<string, MountConfig>>,
    options?: AttachOptions,
  ): Promise<Attachment>
  attachments(options?: AttachmentsOptions): Promise<AttachmentInfo[]>
  detach(id: string, options?: DetachOptions): Promise<void>
}

// -- Volumes ----------------------------------------------------------------------------------------------

/**
 * A volume that was just created. Its methods act on this very volume: once it is removed they reject with a
 * `VolumeNotFoundError`, also where its name is used again.
 */
export declare class Volume {
  private constructor()
  /**
   * 32 hexadecimal digits, drawn when the volume was made, which no other volume has, a later one of the same name
   * included. It stays with the volume, also when its catalog is lost and made again.
   */
  readonly id: string
  readonly name: string
  /** The data directory's absolute path on the host; a disk volume's holds its image. */
  readonly path: string
  /** The files of a directory volume. Of a disk volume, each operation is refused with an `InvalidConfigError`. */
  fs(): VolumeFs
  /** Removes this volume, as `removeVolume` does, and never a later one of its name. */
  remove(options?: SignalOption): Promise<void>
}

/**
 * A volume as it was when it was looked up. Its methods act on this very volume: once it is removed they reject with a
 * `VolumeNotFoundError`, also where its name is used again.
 */
export declare class VolumeHandle {
  private constructor()
  /**
   * 32 hexadecimal digits, drawn when the volume was made, which no other volume has, a later one of the same name
   * included. It stays with the volume, also when its catalog is lost and made again.
   */
  readonly id: string
  readonly name: string
  /** The data directory's absolute path on the host; a disk volume's holds its image. */
  readonly path: string
  readonly kind: VolumeKind
  /** `null`: unlimited. */
  readonly quotaMib: number | null
  /**
   * Who holds the volume to its quota when the handle is made: `'kernel'`, whoever writes; `'host'`, this library,
   * for what is written through `VolumeFs`, so a guest can write more. `null`: unlimited.
   */
  readonly quotaEnforcement: 'kernel' | 'host' | null
  /**
   * Bytes allocated on the host. Of a directory volume, directories included: a hard link counted once, sparse
   * files as they are, links not followed, mounts below not entered, and what this process may not read, or what is
   * in directories that are made while it is measured, not counted. Of a disk volume, what its image file takes.
   */
  readonly usedBytes: number
  /** A disk volume's virtual size in bytes; `null` for a directory volume. */
  readonly capacityBytes: number | null
  /** A disk volume's image: `'raw'` or `'qcow2'`; `null` for a directory volume. */
  readonly diskFormat: string | null
  /** The file system that a disk volume was made with, `'ext4'`; `null` for a directory volume. */
  readonly diskFstype: string | null
  readonly labels: Readonly<Record<string, string>>
  /** `null` where the catalog has no time, or one that no `Date` can hold. */
  readonly createdAt: Date | null
  /** The files of a directory volume. Of a disk volume, each operation is refused with an `InvalidConfigError`. */
  fs(): VolumeFs
  /** Removes this volume, as `removeVolume` does, and never a later one of its name. */
  remove(options?: SignalOption): Promise<void>
}

export interface WriteOptions extends SignalOption {
  /**
   * A reader or a crash sees the old or the new content, never a mix. The new content takes the old one's
   * place under its name, with its mode, ACL, extended attributes and, where permitted, its owner; other hard links
   * keep the old one. Capabilities end with the content, and set-id bits stay only for root, as with any write on
   * Linux. Where the group cannot be kept, the new group gets no more rights than others have. A new file is as if it
   * were made in its directory: set-gid group, default ACL.
   * A plain write goes into the existing file, which all its hard links see, over what it holds, and then cuts off what
   * is longer: a reader meanwhile, or one after a crash, may see the beginning of the new content and behind it the rest
   * of the old one. Default: `false`.
   */
  atomic?: boolean | null
  /**
   * The content is on disk before the promise resolves, and with a file that is made or replaced its name and the
   * names of the directories of the volume that lead to it. Default: `false`.
   */
  durable?: boolean | null
  /** The mode of a file that does not exist yet, less the umask; at most 0o7777. Default: `0o644`. */
  mode?: number | null
}

export interface AppendOptions extends SignalOption {
  /** The data is on disk before the promise resolves, as for `write`. Default: false. */
  durable?: boolean | null
  /** The permission bits of a file that does not exist yet, less the umask. Default: 0o644. */
  mode?: number | null
}

/** How far a copy has come. */
export interface TransferProgress {
  /** Files and symbolic links copied so far. */
  readonly files: number
  /** Bytes of content copied so far, holes included. */
  readonly bytes: number
  /** The file or link copied last, from the top of the tree; empty where the top is a file. */
  readonly path: string
}

export interface TransferSummary {
  /** Files and symbolic links that were copied. */
  readonly files: number
  /** Bytes of content that were copied, holes included. */
  readonly bytes: number
  /** Symbolic links that `links: 'skip'` left out. */
  readonly skippedLinks: number
}

export interface TransferOptions extends SignalOption {
  /**
   * What becomes of a symbolic link that may lead out of the copied tree: `'refuse'` ends the copy with a
   * `PathEscapeError`, `'skip'` leaves the link out and counts it. Default: `'refuse'`.
   */
  links?: 'refuse' | 'skip' | null
  /**
   * Called at most every 50 ms while something is copied, and at the end, before the copy is complete. What it throws
   * ends the copy, which is then undone.
   */
  onProgress?: ((progress: TransferProgress) => void) | null
  /**
   * Called for each entry below the top before it is copied; `false` leaves it out, with all below it. It returns at
   * once: a promise is an `InvalidConfigError`. What it throws ends the copy, which is then undone. `path` is the path from the top, with
   * U+FFFD for what is not UTF-8.
   */
  filter?: ((path: string, kind: 'file' | 'directory' | 'symlink' | 'other') => boolean) | null
}

export interface StreamOptions {
  /**
   * Destroys the stream with an `AbortError` (code `ABORT_ERR`), as Node's own streams do; its `cause` is the
   * signal's reason. Default: none.
   */
  signal?: AbortSignal | null
  /**
   * How many bytes are held before the stream waits, an integer from 1 to 2^30 (1 GiB). A read stream reads as much
   * at once, and one chunk ahead. Default: 512 KiB.
   */
  highWaterMark?: number | null
}

export interface ReadStreamOptions extends StreamOptions {
  /** The first byte that is read, an integer from 0 to 2^53 - 1. Default: 0. */
  start?: number | null
  /** The last byte that is read, an integer from `start` to 2^53 - 1. Default: the file's last. */
  end?: number | null
}

export interface WriteStreamOptions extends StreamOptions, Pick<WriteOptions, 'mode'> {
  /**
   * The old content stays until the stream finishes, and then gives way to the new one at once. A stream that fails
   * or is destroyed before leaves it as it was. Not together with `append` or `start`. Default: `false`.
   */
  atomic?: boolean | null
  /** The file is on disk before `'finish'`, as for `write`. Default: `false`. */
  durable?: boolean | null
  /** Writes behind what is there, also behind what others add meanwhile. Default: `false`. */
  append?: boolean | null
  /**
   * Writes over what is there from this byte on, an integer from 0 to 2^53 - 1, and cuts nothing off. Not together
   * with `append`. Default: the file is emptied when it is opened.
   */
  start?: number | null
}

/**
 * A path within a volume: a string, or bytes, which a name that is not UTF-8 needs. Bytes are copied in the call. Refused
 * with an `InvalidConfigError`: bytes whose buffer was transferred or became too short, and a string with a lone surrogate,
 * which no file name can hold; that holds for every other string that is no file's content, too.
 */
export type VolumePath = string | Uint8Array

/**
 * The files of one volume. Paths are relative to its root and use `/`; `''` and `'.'` are the root. No path and
 * no symbolic link leads outside: that is a `PathEscapeError`, whoever changes the tree meanwhile. Only regular
 * files are read and written: anything else is a `FileSystemError` with code `ENOTSUP`. A file on which a guest holds a
 * lease (`F_SETLEASE`) is waited for until the kernel has broken that: up to 45 seconds, unless `lease-break-time` says
 * otherwise, or until the signal aborts. One that a guest leases again each time is `EBUSY` in the end. Operations on other
 * files do not wait with it, whether or not the volume has a quota.
 */
export declare class VolumeFs {
  private constructor()
  /** The data directory's absolute path on the host. */
  readonly root: string
  /** A whole file, up to 2 GiB; a longer one is an `EFBIG` error. */
  read(relPath: VolumePath, options?: SignalOption): Promise<Buffer>
  /**
   * A whole file as text, up to 512 MiB less 24 bytes; invalid UTF-8 is an `EILSEQ` error. The text of a large
   * file becomes a string piece by piece, the event loop turning between two; the engine puts the pieces together when the
   * string is first looked into.
   */
  readString(relPath: VolumePath, options?: SignalOption): Promise<string>
  /**
   * Creates or replaces a file; the directory that holds it must exist.
   *
   * Up to 64 KiB of `data` are copied in the call, and a longer buffer slice by slice on the event loop while it is
   * written, so leave it alone until the promise settles: a byte that changes is written as it is when it is copied,
   * in a `SharedArrayBuffer` as well. Bytes of other memory are never written. A buffer that is detached, or made
   * shorter, before it is copied whole rejects: an atomic write, and a plain one that had not begun, leave the old
   * content; a plain one that had begun leaves the beginning of the new content over it, and no file that it created.
   *
   * Of plain writes of one file at once in one process, one ends before the next begins. Other processes may write
   * between the slices.
   *
   * That wait has no limit but the signal: a write of a long buffer in another worker ends only when that
   * worker's event loop turns. Pass a signal (`AbortSignal.timeout`) where a worker may block its loop.
   * @throws {InvalidConfigError} an argument or option is not acceptable, or `data` was detached or made shorter
   * @throws {QuotaExceededError} it would take more than the quota leaves; nothing was written
   */
  write(relPath: VolumePath, data: Uint8Array | string, options?: WriteOptions): Promise<void>
  writeString(relPath: VolumePath, content: string, options?: WriteOptions): Promise<void>
  /**
   * Adds to the end of a file, made (mode 0o644 less the umask) where it is missing; the directory that holds it must
   * exist. What others add meanwhile stays. `data` as in `write`, of which nothing is added if it is detached first.
   * @throws {QuotaExceededError} it would take more than the quota leaves; nothing was written
   */
  append(relPath: VolumePath, data: Uint8Array | string, options?: AppendOptions): Promise<void>
  /**
   * Copies a file or a whole tree within the volume. `to` is the exact path of the copy, in a directory that must
   * exist. A file there is replaced when the copy is whole, and keeps its old content until then; a directory there is
   * merged into. A directory does not take a file's place (`ENOTDIR`), nor a file a directory's (`EISDIR`).
   *
   * `from` and `to` themselves follow links that stay inside; links below are copied as links. A FIFO, socket or
   * device is an `ENOTSUP` error, and a directory copied into itself, or a file onto itself, `EINVAL`. Content is
   * shared where the file system can (reflinks), and holes stay holes. Permissions are kept whatever the umask, and the
   * owner where the process may give files away; set-id bits are dropped. Of extended attributes those named `user.*`
   * are kept where the file system has such, but not overlayfs's. Times, ACLs and hard links between files are not kept:
   * a copy of a file with an ACL gets the permissions that give nobody more than the ACL did. A copy inherits from its
   * directory: the group of a set-gid one, and where it has a default ACL that and no more permissions than it leaves.
   * A file that is replaced leaves its attributes, unless the copied one has them too, and its ACL, limited by the
   * copied permissions. A mount below is an `EBUSY` error. A directory that is made while the copy lasts is copied empty.
   *
   * A copy that fails or is aborted is removed again. Where `to` was a directory already, what was copied into it by
   * then stays, each file whole. Whoever looks meanwhile sees a part, and so does who comes after a crash. A copy does not
   * wait until it is on disk: after a power cut, files that were copied shortly before may be cut short or missing, and
   * so may one that was replaced.
   * @throws {QuotaExceededError} it would take more than the quota leaves
   */
  copy(from: VolumePath, to: VolumePath, options?: SignalOption): Promise<void>
  /**
   * Copies a file or a whole tree of the host into the volume, as `copy` does, with these differences: `hostPath`
   * itself follows links wherever they lead, a relative one starts at the current directory, and the copies belong to
   * this process's user. A link below that may lead out of the copied tree (an absolute one, one that climbs above the
   * tree's top, or one with a `..` behind a name) is refused or skipped: `links`. The volumes and their catalog, or
   * what holds them, are not copied (`InvalidConfigError`).
   * @throws {PathEscapeError} a link in the tree may lead outside it; names the link
   * @throws {QuotaExceededError} it would take more than the quota leaves
   */
  copyIn(hostPath: string, relPath: VolumePath, options?: TransferOptions): Promise<TransferSummary>
  /**
   * Copies a file or a whole tree of the volume to the host, as `copy` and `copyIn` do. Nothing is written outside
   * `hostPath`, whatever a guest put into the tree or changes meanwhile. A link at `hostPath` is followed to a directory
   * that a tree is merged into; a file takes the link's place. Of modes the permissions are kept; set-id and
   * sticky bits are dropped. A volume without a size limit can fill the host's disk.
   * @throws {PathEscapeError} a link in the tree may lead outside it; names the link
   */
  copyOut(relPath: VolumePath, hostPath: string, options?: TransferOptions): Promise<TransferSummary>
  /**
   * A file of any size, bit by bit. It is opened soon after the call, and closed when the stream ends, fails, is
   * destroyed, or is garbage. Whatever is wrong with the file is an `'error'` event. What the file has beyond its
   * length when it is opened is not read, so that a file which a guest keeps adding to has an end; one that shrinks
   * ends earlier. A file that was moved, or whose volume was removed, is read to its end.
   * @throws {InvalidConfigError} an option is not acceptable, or the path is neither a string nor bytes
   */
  readStream(relPath: VolumePath, options?: ReadStreamOptions): Readable
  /**
   * Creates or replaces a file bit by bit; the directory that holds it must exist. It is opened soon after the call,
   * and closed like that of `readStream`; whatever is wrong with it is an `'error'` event. Leave a chunk alone until
   * it is written, as with any stream: one that is detached before is an `InvalidConfigError`.
   *
   * A plain stream empties an existing file when it is opened, and what it wrote stays, however it ends. So does what
   * stood within the quota before a `QuotaExceededError`; of the chunk that was refused nothing is written, or the
   * first part of one longer than 1 MiB. Over its quota a volume gets no new file, not even an empty one. An `atomic`
   * one leaves everything as it was unless it finishes; if it is destroyed while it finishes, the file has either the
   * old or the new content. A stream that finishes in a volume that was removed meanwhile fails with a
   * `VolumeNotFoundError`.
   * @throws {InvalidConfigError} an option is not acceptable, or the path is neither a string nor bytes
   */
  writeStream(relPath: VolumePath, options?: WriteStreamOptions): Writable
  /**
   * A directory and all that are missing above it, mode 0o755 less the umask; an existing one is fine.
   * @throws {QuotaExceededError} a new one counts as 4 KiB, which the quota does not leave; nothing was made
   */
  mkdir(relPath: VolumePath, options?: SignalOption): Promise<void>
  /** One file, symbolic link (never its target) or empty directory. */
  remove(relPath: VolumePath, options?: SignalOption): Promise<void>
  /**
   * An entry and all below it; a missing one is fine, the root is refused. Once begun it runs to its end. A mount
   * below, or others who keep filling the tree, is an `EBUSY` error that leaves what could not be removed. What other
   * users own is deleted as `removeVolume` does, if `rm` is GNU's; else it is a `FileSystemError` (`EACCES`).
   */
  removeAll(relPath: VolumePath, options?: SignalOption): Promise<void>
  /** Whether the path leads to something; an error where that could not be told. */
  exists(relPath: VolumePath, options?: SignalOption): Promise<boolean>
  /**
   * The entries of a directory: all of them where it is awaited, one after the other in `for await` for a directory
   * that is too large for memory. Nothing is read before either is done.
   *
   * A directory's entries come together, those of its subdirectories after them; awaited, they are sorted by the
   * bytes of their names, iterated, they come as the file system has them. Links are not followed, nor are mounts
   * entered, but both are listed. What vanishes meanwhile is left out. A directory or an entry that this process may
   * not look at is an `EACCES` error that names it.
   *
   * Awaited, at most 2,000,000 entries and 256 MiB of names: more is an `EFBIG` error. Iterated, there is no limit:
   * some thousand entries, and the names of subdirectories still to be entered, are in memory. An iteration holds
   * descriptors, at most 40 however deep the tree, until it ends, fails, or is left by `break` or `return`.
   */
  list(relPath: VolumePath, options?: ListFilesOptions): DirListing
  /**
   * What stands at a path; a symbolic link there is followed, and one that leads outside is a `PathEscapeError`.
   * Never opens the file.
   */
  stat(relPath: VolumePath, options?: StatOptions): Promise<FileMetadata>
  /**
   * Renames an entry within the volume in one step, in place of a file, or for a directory an empty one, that has the
   * new name. A symbolic link is renamed or replaced itself, never its target; the root is refused. The directory
   * that holds the new name must exist. A directory into itself is an `EINVAL` error, another mount an `EXDEV` one.
   * A directory that came with a lower layer of an overlay is `EXDEV` where the kernel does not redirect directories; copy
   * it and remove the original instead.
   */
  rename(from: VolumePath, to: VolumePath, options?: SignalOption): Promise<void>
}

export interface ListFilesOptions extends SignalOption {
  /**
   * All that is below the directory as well, at any depth; directories that are made meanwhile are not entered. On
   * overlayfs they cannot be told from others and are; a listing during which a million directories are changed is an
   * `EBUSY` error there. Default: `false`.
   */
  recursive?: boolean | null
}

export interface StatOptions extends SignalOption {
  /** `false`: a symbolic link at the end of the path is looked at itself, wherever it leads. Default: `true`. */
  followSymlinks?: boolean | null
}

/** A FIFO, a socket and a device are `'other'`. */
export type FileKind = 'file' | 'directory' | 'symlink' | 'other'

/** An entry of a directory. Of a symbolic link, what the link itself is. */
export interface DirEntry {
  /**
   * The path from the volume's root: the one that was listed, and the names below it. Where a name is not UTF-8,
   * U+FFFD stands for what is not, and `pathBytes` has it.
   */
  readonly path: string
  /** The path where it is not UTF-8, else `null`: every method takes `entry.pathBytes ?? entry.path`. */
  readonly pathBytes: Buffer | null
  readonly kind: FileKind
  /** The length in bytes, beyond 2^53 the nearest number. */
  readonly size: number
  /** Permission bits, at most 0o7777. */
  readonly mode: number
  /** When the content last changed, to the millisecond; `null` where that is no time that a `Date` can hold. */
  readonly modified: Date | null
}

/** A promise of all entries of a directory, and an async iterable of them; each `for await` lists anew. */
export interface DirListing extends Promise<DirEntry[]>, AsyncIterable<DirEntry> {}

/** What stands at a path. */
export interface FileMetadata {
  readonly kind: FileKind
  /** The length in bytes, beyond 2^53 the nearest number. */
  readonly size: number
  /** Bytes allocated on the host; less than `size` for a sparse file. */
  readonly allocatedBytes: number
  /** Permission bits, at most 0o7777. */
  readonly mode: number
  /** No permission bit lets anybody write. */
  readonly readonly: boolean
  /** The user it belongs to, by the host's numbers. */
  readonly uid: number
  /** The group it belongs to, by the host's numbers. */
  readonly gid: number
  /** How many names (hard links) it has. */
  readonly nlink: number
  /** When the content last changed, to the millisecond; `null` where that is no time that a `Date` can hold. */
  readonly modified: Date | null
  /** When the content was last read, as far as the host's mount keeps track. */
  readonly accessed: Date | null
  /** When it was made; `null` where the file system does not keep that. */
  readonly created: Date | null
}

// -- Mounts -----------------------------------------------------------------------------------------------

export type MountKind = 'bind' | 'named' | 'tmpfs' | 'disk'
export declare const MountKind: {
  readonly Bind: 'bind'
  readonly Named: 'named'
  readonly Tmpfs: 'tmpfs'
  readonly Disk: 'disk'
}

/** Flags; each is off unless it is set. */
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

export interface MountOptions extends MountFlags {
  /** Virtiofs only. Default: the runtime's. */
  statVirtualization?: 'strict' | 'relaxed' | 'off' | null
  /** Virtiofs only; `'mirror'` does not go with `statVirtualization: 'off'`. Default: the runtime's. */
  hostPermissions?: 'private' | 'mirror' | null
}

export interface NamedMountOptions extends MountOptions {
  /**
   * A directory or file of a directory volume that is mounted instead of all of it, so that one volume serves many
   * tenants: a relative path, without `..` or control characters, not empty, at most 4095 bytes. Links are followed as
   * long as they stay in the volume. What is missing is made as a directory (mode 0755, less the umask, against the
   * quota, and where permitted of the user and group that own the directory it is made in) where the volume's mode is `'create'` or `'ensure-exists'`, and stays also where attaching fails afterwards;
   * with `'existing'` it is a `FileSystemError` (`ENOENT`).
   *
   * It is looked for once, by `attach`, and held by a descriptor, which bubblewrap and microsandbox are handed: a guest
   * that has all of the volume, and puts a link in the part's place afterwards, changes nothing. Start them before
   * `detach()` and while this process lives. OCI runtimes, Docker, Podman and virtiofs servers look for the part by
   * its path themselves, which is refused unless `byPath` allows it; Kubernetes does so safely. Default: all of the
   * volume.
   */
  subpath?: string | null
}

export interface NamedVolumeOptions {
  /**
   * `'existing'`: the volume must be there. `'create'`: it must not. `'ensure-exists'`: it is created where it
   * is missing, and must otherwise be what would be created, labels aside. Default: `'existing'`, with which
   * the options below are refused.
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

export interface TmpfsOptions extends MountFlags {
  /** At most this much, in MiB, an integer from 1 to 2^32 - 1. Default: the runtime's. */
  sizeMib?: number | null
}

export interface DiskOptions extends MountFlags {
  /**
   * What the image must be. Default: told by the extension `.raw`, `.img`, `.qcow2` or `.vmdk`, which the content
   * must not contradict, and without one of these by the content. With `'raw'` it is raw whatever it holds.
   */
  format?: 'raw' | 'qcow2' | 'vmdk' | null
  /**
   * The file system inside, such as `ext4`, for the guest's mount command. Default: told from its superblock. Without it
   * an image that has a partition table and no file system that is known is refused.
   */
  fstype?: string | null
}

/** A checked mount: plain data, which survives `JSON.stringify` and `structuredClone`. */
export interface MountConfig {
  readonly kind: MountKind
  /** A bind mount's absolute host path. */
  readonly bind: string | null
  /** A named mount's volume. */
  readonly named: string | null
  /**
   * The id of that volume, where the mount was built from a `Volume` or a `VolumeHandle`: `attach` then rejects with a
   * `VolumeNotFoundError` where the name has no volume or another one. `null`: whichever volume has the name.
   */
  readonly volumeId: string | null
  /** The part of it that is mounted, without `.` and doubled slashes; `null`: all of it. */
  readonly subpath: string | null
  readonly namedMode: 'existing' | 'create' | 'ensure-exists' | null
  /** Set for the modes that may create the volume. */
  readonly namedKind: VolumeKind | null
  readonly quotaMib: number | null
  /** The labels of a volume that is created. */
  readonly labels: Readonly<Record<string, string>> | null
  readonly tmpfs: boolean
  /** A disk image's absolute host path. */
  readonly disk: string | null
  /** A disk image's format, as far as it was given, or that of a disk volume that is created. */
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

/** Builds mounts; each throws an `InvalidConfigError` that names the field at fault. */
export declare const Mount: {
  /** A file or directory of the host. A relative path is resolved now. */
  bind(hostPath: string, options?: MountOptions | null): MountConfig
  /** A volume that exists: the one that has the name when it is attached, or exactly the one that is given. */
  named(volume: string | Volume | VolumeHandle, options?: NamedMountOptions | null): MountConfig
  /** A volume that may be created for the mount. One that is given, and no name, has to exist: mode `'existing'`. */
  namedWith(
    volume: string | Volume | VolumeHandle,
    options?: NamedMountOptions | null,
    named?: NamedVolumeOptions | null,
  ): MountConfig
  /** Memory. */
  tmpfs(options?: TmpfsOptions | null): MountConfig
  /** A disk image of the host, which `attach` looks for and checks. A relative path is resolved now. */
  disk(hostPath: string, options?: DiskOptions | null): MountConfig
}

/** A mount whose source was found. */
export interface ResolvedMount {
  readonly guestPath: string
  readonly kind: MountKind
  /**
   * What the guest sees; `null` for a tmpfs. Of a `subpath`, where it was found: whoever may write the volume can put
   * something else there, so leave it to the methods below to tell a runtime.
   */
  readonly hostPath: string | null
  /** The volume of a named mount. */
  readonly volume: string | null
  /** The part of it that is mounted; `null`: all of it. */
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

export interface BubblewrapOptions {
  /**
   * The number by which `bwrap` finds the first of the attachment's `descriptors()`, an integer of at least 3; the
   * others follow. With Node, it is the place of the first in `stdio`. Required where a `subpath` is mounted, and not
   * used otherwise. Default: none.
   */
  firstFd?: number | null
}

/** For runtimes that look for what is mounted by its path. */
export interface ByPathOption {
  /**
   * `true`: a `subpath` is told by its path. Set it only where, from `attach` until the sandbox runs, no other sandbox
   * can write a directory above the part: it could put a link to the host's files there. `false`: an attachment with a
   * `subpath` is refused. Default: `false`.
   */
  byPath?: boolean | null
}

/** An entry of `mounts` in an OCI runtime's `config.json`. */
export interface OciMount {
  destination: string
  type: string
  source: string
  options: string[]
}

export interface QemuOptions extends ByPathOption {
  /**
   * The absolute path of a directory, which only you may write, for the sockets of the virtiofs servers; each
   * socket's path has at most 107 bytes. Required where a directory is mounted. Default: none.
   */
  socketDir?: string | null
  /**
   * The machine's memory in MiB, an integer from 1 to 2^32 - 1. It is among the arguments where it is given or
   * a directory is mounted. Default: 512 where a directory is mounted, else QEMU's.
   */
  memoryMib?: number | null
  /**
   * What the names of devices, serial numbers, tags and sockets begin with: 1 to 14 lower-case letters, digits and
   * `-`, a letter first. Choose another one for a second attachment in the same machine (whose directories belong in
   * one attachment, for they share the machine's memory), or where machines share a `socketDir`. Default: `'sv-mount'`.
   */
  prefix?: string | null
}

/** What QEMU, its virtiofs servers and its guest are told. */
export interface QemuMounts {
  /** Arguments for `qemu-system-…`. */
  args: string[]
  /** One virtiofs server each, listening before QEMU starts. */
  virtiofs: QemuShare[]
  /** What the guest is to mount, parents before their children. */
  guest: QemuGuestMount[]
}

/** A directory that a virtiofs server shares. */
export interface QemuShare {
  /** What the guest knows it by. */
  tag: string
  /** The directory of the host. */
  source: string
  /** The server must refuse writes: the guest, which mounts it read-only, could mount it again. */
  readonly: boolean
  /** Where the server is to listen. */
  socket: string
}

/** A mount that the guest makes. */
export interface QemuGuestMount {
  guestPath: string
  /** `virtiofs`, `tmpfs`, or the file system of a disk; `auto` where that is not known. */
  type: string
  /** The tag of a directory. */
  tag: string | null
  /** A disk's serial number, which the guest's kernel shows in `/sys/block/<disk>/serial`. */
  serial: string | null
  /** The options of the mount: `ro` or `rw`, `nosuid` … */
  options: string[]
  /**
   * One line for the guest's root shell, busybox's or any other, that makes the mount point and the mount. It needs
   * `/dev` and `/sys`, and `/proc` for a type that is not known.
   */
  command: string
}

export interface DockerOptions extends ByPathOption {
  /**
   * Who reads the arguments: `'docker'` (25 or later, both command line and engine) or `'podman'` (4 or later). They
   * share `--mount` but not what it can say. Default: `'docker'`.
   */
  engine?: 'docker' | 'podman' | null
}

export interface MicrosandboxOptions {
  /**
   * `true`: volumes are mounted by their names, for a microsandbox whose home (`MSB_HOME`) is this store's. It then holds
   * a directory volume to its quota and counts its volumes as in use. Only a volume that its catalog
   * (`<home>/db/msb.db`) has is mounted so, and none if its `config.json` keeps volumes elsewhere; others are an
   * `UnsupportedMountError`, for microsandbox up to 0.7.11 that is told a name which its catalog lacks deletes the
   * volume's directory. Whether the catalog still has it is looked up by this call, without waiting: do not remove the
   * volume with `msb` before the sandbox runs. Of a disk volume it opens `disk.raw`, so that a qcow2 volume is an
   * `UnsupportedMountError` too: mount it by its path.
   *
   * `false`: by their paths, for any microsandbox, which lets a guest add 4 GiB to a directory, as to any bind mount of
   * its. Default: `false`.
   */
  byName?: boolean | null
  /**
   * Whether the attachment releases the `flock` on its disks, for microsandbox takes it itself. `false` is for who only
   * looks at the arguments. What tells other attachments and QEMU that the disks are in use stays until `detach()`.
   * Default: `true`.
   */
  handOver?: boolean | null
}

/** The part of microsandbox's `SandboxBuilder` that `configureSandbox` uses. */
export interface SandboxBuilderLike {
  volume(guestPath: string, configure: (mount: any) => any): unknown
}

export interface KubernetesOptions {
  /**
   * `true`: named volumes are mounted through PersistentVolumeClaims, whose manifests are in the result. `false`: by
   * their paths on the node. With `false` the options below are refused. Default: `false`.
   */
  claims?: boolean | null
  /** The namespace of the claims, which is the pod's. Default: `'default'`. */
  namespace?: string | null
  /**
   * The node that has the volumes' directories, by its label `kubernetes.io/hostname`: pods with these claims run
   * there. Default: the directory is looked for on whatever node a pod runs, for clusters of one node.
   */
  node?: string | null
  /**
   * The claims are for new storage of this class, which is the cluster's own and begins empty: what is in the volumes
   * does not come along. Does not go with `node`. Default: the claims are for the volumes' own directories.
   */
  storageClass?: string | null
  /** The size that is claimed for a volume without a quota, in MiB, at least 1; required for such. Default: none. */
  storageMib?: number | null
}

/** Where a Kubernetes pod finds the content of a mount. */
export interface KubernetesVolume {
  /** `sv-mount-<place in the list of mounts>`. */
  name: string
  hostPath?: { path: string; type: 'Directory' | 'File' }
  emptyDir?: { medium: 'Memory'; sizeLimit?: string }
  persistentVolumeClaim?: { claimName: string }
}

/** Where a container of a Kubernetes pod sees it. */
export interface KubernetesVolumeMount {
  name: string
  mountPath: string
  /** The part of the volume that is mounted. */
  subPath?: string
  readOnly?: true
  /** What is mounted below the directory is read-only too. */
  recursiveReadOnly?: 'Enabled'
}

/** The `volumes` of a pod's `spec`, and the `volumeMounts` of a container in it. */
export interface KubernetesMounts {
  volumes: KubernetesVolume[]
  volumeMounts: KubernetesVolumeMount[]
}

export interface KubernetesMetadata {
  name: string
  labels: { 'app.kubernetes.io/managed-by': 'sandbox-volumes' }
}

/** A manifest: the directory of a volume. */
export interface KubernetesPersistentVolume {
  apiVersion: 'v1'
  kind: 'PersistentVolume'
  metadata: KubernetesMetadata
  spec: {
    capacity: { storage: string }
    accessModes: ['ReadWriteOnce']
    persistentVolumeReclaimPolicy: 'Retain'
    storageClassName: ''
    claimRef: { apiVersion: 'v1'; kind: 'PersistentVolumeClaim'; name: string; namespace: string }
    /** Where no node is named. */
    hostPath?: { path: string; type: 'Directory' }
    /** On the node that is named. */
    local?: { path: string }
    nodeAffinity?: {
      required: {
        nodeSelectorTerms: { matchExpressions: { key: string; operator: 'In'; values: string[] }[] }[]
      }
    }
  }
}

/** A manifest: a pod's claim to a volume. */
export interface KubernetesPersistentVolumeClaim {
  apiVersion: 'v1'
  kind: 'PersistentVolumeClaim'
  metadata: KubernetesMetadata & { namespace: string }
  spec: {
    accessModes: ['ReadWriteOnce']
    /** The volume's quota, else `storageMib`. */
    resources: { requests: { storage: string } }
    storageClassName: string
    /** The PersistentVolume, where the claim is for a volume's own directory. */
    volumeName?: string
  }
}

/** A pod's part, and the objects that are to be there before the pod. */
export interface KubernetesClaims extends KubernetesMounts {
  /** One a volume; none with `storageClass`. */
  persistentVolumes: KubernetesPersistentVolume[]
  /** One a volume, however often it is mounted. */
  persistentVolumeClaims: KubernetesPersistentVolumeClaim[]
}

/** What a sandbox holds until `detach()` or the end of its process. */
export declare class Attachment implements AsyncDisposable {
  private constructor()
  /** As `attachments` lists it. */
  readonly id: string
  readonly sandbox: string
  /** The process whose end frees the volumes; `handOver` changes it. */
  readonly pid: number
  /** Parents before their children. */
  readonly mounts: readonly ResolvedMount[]
  /**
   * Arguments for `bwrap` 0.7 or later, which makes every mount with `nosuid` and `nodev`. They take the
   * capability CAP_SYS_ADMIN from a sandbox that root starts, for it could undo every flag. Put them behind what
   * makes the sandbox's root: later mounts cover earlier ones.
   *
   * A `subpath` is bound by its descriptor (`--bind-fd`, in bubblewrap 0.10 or later, and in Debian's 0.8):
   * `spawn('bwrap', [...root, ...mounts.toBubblewrap({ firstFd: 3 }), …], { stdio: ['inherit', 'inherit', 'inherit',
   * ...mounts.descriptors()] })`.
   * @throws {UnsupportedMountError} a mount is `noexec` or has a virtiofs option
   * @throws {InvalidConfigError} `firstFd` is not acceptable or missing, or the attachment was detached (`field` is
   *   `attachment`)
   */
  toBubblewrap(options?: BubblewrapOptions | null): string[]
  /**
   * The numbers, in this process, of the descriptors of what is mounted by a `subpath`, in the order of the mounts. They
   * can do no input or output, and are closed by `detach()`: leave that to it.
   * @throws {InvalidConfigError} the attachment was detached
   */
  descriptors(): number[]
  /**
   * The `mounts` of an OCI runtime's `config.json` (runc, crun, containerd).
   * @throws {UnsupportedMountError} a mount is a disk, has a virtiofs option, or a `subpath` without `byPath`
   * @throws {InvalidConfigError} an option is not acceptable, or the attachment was detached
   */
  toOci(options?: ByPathOption | null): OciMount[]
  /**
   * For QEMU 7.2 or later on Linux, with a machine that has PCI: a disk is a virtio-blk device, a directory is shared
   * through virtiofs, a tmpfs is the guest's own. Nothing is mounted until the guest's root runs each `command`
   * in turn.
   *
   * Start a virtiofs server for each entry of `virtiofs` first, such as
   * `virtiofsd --socket-path <socket> --shared-dir <source>`, with `--readonly` where the entry says so. An older one
   * without that option is to be given a read-only bind mount of the source.
   *
   * Leave the machine's memory (`-m`) to these arguments where directories are mounted. A disk image of the host is
   * opened under the path of a descriptor of this process, so that it is the file that was checked: start QEMU as the
   * same user, or root, before `detach()` and while this process lives. A disk error, such
   * as a full host, is an error in the guest and does not stop it. A file system that was not unmounted is mended
   * when it is next mounted for writing; until then a guest may refuse to mount it read-only.
   *
   * @throws {UnsupportedMountError} a mount is a single file, or a `subpath` without `byPath`, or virtiofs servers cannot
   *   do what is asked: `statVirtualization` `'strict'` or `'relaxed'`, or `hostPermissions` `'private'`
   * @throws {InvalidConfigError} an option is not acceptable, `socketDir` is missing, or the attachment was detached
   */
  toQemu(options?: QemuOptions | null): QemuMounts
  /**
   * Arguments (`--mount`, `--tmpfs`) for `docker run` or `podman run` and `create`. What is mounted below a source does
   * not come along. A tmpfs always has `nosuid` and `nodev`, and is executable unless it is `noexec`. No SELinux label
   * is changed: on a host with SELinux add `--security-opt label=disable`, or label the volume.
   * @throws {UnsupportedMountError} a mount is a disk, has a virtiofs option, or a `subpath` without `byPath`, a host path
   *   has a control character, or, for Docker, a bind mount or volume is `noexec`, `nosuid` or `nodev`
   * @throws {InvalidConfigError} an option is not acceptable, or the attachment was detached
   */
  toDocker(options?: DockerOptions | null): string[]
  /**
   * Arguments (`--mount-dir`, `--mount-file`, `--mount-disk`, `--mount-named`, `--tmpfs`) for `msb run` and
   * `msb create` of microsandbox 0.6. By name, run `msb` with `MSB_HOME` set to the store's home. A disk image of the host
   * is opened under the path of a descriptor of this process: start the sandbox as the same user while this process
   * lives. From this call on, the attachment holds no `flock` on its disks any more, for microsandbox takes it itself;
   * with `{ handOver: false }` it keeps it, and microsandbox cannot start.
   * @throws {UnsupportedMountError} a host path has `,`, `:` or `;`, a vmdk is to be written, a `subpath` or a qcow2
   *   volume is to be mounted by name, or microsandbox would not find a volume by its name
   * @throws {InvalidConfigError} an option is not acceptable, or the attachment was detached
   * @throws {CatalogError} by name: microsandbox's catalog is locked at this moment, cannot be read, or is of a version
   *   that is not known here
   */
  toMicrosandbox(options?: MicrosandboxOptions | null): string[]
  /**
   * Tells a `SandboxBuilder` of microsandbox's own TypeScript SDK, 0.6, of each mount (`builder.volume(…)`), and
   * returns it. A mount that cannot be expressed is refused before the builder is told of any. When the builder knows
   * them all, the `flock` on disks is released as by `toMicrosandbox`.
   * @throws {UnsupportedMountError} as `toMicrosandbox`
   * @throws {InvalidConfigError} an option is not acceptable, the attachment was detached, or the builder lacks the
   *   methods of a mount: `field` is `builder`
   * @throws {CatalogError} as `toMicrosandbox`
   */
  configureSandbox<Builder extends SandboxBuilderLike>(
    builder: Builder,
    options?: MicrosandboxOptions | null,
  ): Builder
  /**
   * `volumes` and `volumeMounts` for a Kubernetes pod on a node that has these paths: a directory or file is a
   * `hostPath`, a tmpfs an `emptyDir` of memory. With `claims`, named volumes are claimed, and `persistentVolumes` and
   * `persistentVolumeClaims` are the manifests to apply first.
   *
   * A `subpath` is the `subPath` of its `volumeMount`, which Kubernetes looks for itself when the pod starts.
   *
   * What is mounted below a source comes along; a `readonly` mount holds for it too by `recursiveReadOnly`, which
   * Kubernetes has since 1.31 and which a node that cannot keep it refuses. A claim is named like its volume, or with
   * other characters than `a-z`, `0-9` and `-` in hexadecimal: `v-4dy.sv` for `My`. Its size is asked for and not
   * enforced on a directory.
   * @throws {UnsupportedMountError} a mount is a disk, is `noexec`, `nosuid` or `nodev` or has a virtiofs option, or
   *   the name of a volume to be claimed is too long when written so
   * @throws {InvalidConfigError} an option is not acceptable, `storageMib` is missing, or the attachment was detached
   */
  toKubernetes(options: KubernetesOptions & { claims: true }): KubernetesClaims
  toKubernetes(options?: (KubernetesOptions & { claims?: false | null }) | null): KubernetesMounts
  /**
   * Gives the attachment to another process, such as the sandbox, which is started after `attach`: the volumes are then
   * held until that process ends, also where this one ended before. What this process keeps open for the runtimes, disk
   * images with their locks and what is mounted by a `subpath`, it keeps until `detach()`, until it ends, or until it
   * notices, when it next attaches or removes something, that the other one ended. `detach()` works as before.
   *
   * @param pid a running process, by its number as this process sees it
   * @throws {InvalidConfigError} there is no such process, or `pid` is the number of a thread: `field` is `pid`, and the
   *   attachment stays as it was
   * @throws {AttachmentNotFoundError} it was detached, or its process has ended
   */
  handOver(pid: number, options?: SignalOption): Promise<void>
  /**
   * Makes the mounts on the host, below a root directory that you prepare for a sandbox: for bubblewrap
   * (`--bind <rootfs> /`), runc (`root.path`) or Podman (`--rootfs`), which get disks this way too. All of them, or none:
   * on a failure what was mounted is unmounted, and directories made for it are removed again unless something is in
   * them. Linux 5.12 or later. It needs CAP_SYS_ADMIN over the process's mount name space: root, or a process in a user
   * and a mount name space of its own (`unshare -Urm`), which can mount all but disks.
   *
   * - A mount has its flags before anybody sees it, and always `nosuid` and `nodev`: the host's other users may come
   *   upon it. What is mounted below a source does not come along, then or later. A tmpfs has its size, by default half
   *   of the machine's memory, and mode 1777.
   * - A mount point that is missing is made: directories with mode 0755 less the umask, a file with 0644. A link at a
   *   mount point or above it, below `rootfs`, is refused, whoever puts it there in whatever moment.
   * - A disk must be raw. Its file system, which is the one found in it unless `fstype` says, is mounted through a loop
   *   device and locked: other programs that ask (QEMU, microsandbox, `flock`) are refused as long as it is in use.
   *
   * **The host's own kernel reads a disk's file system here, as a guest left it. Kernels are not hardened against that: a
   * hostile image may crash or take over the host.** Mount so only disks that only sandboxes which share the host's
   * kernel wrote, and with `fstype`, so that a guest has no choice of file systems; give the others to a virtual
   * machine (`toQemu()`). ext2, ext3 and ext4 are mounted with `errors=remount-ro`, whatever the image says. An image of
   * ext, btrfs, erofs or f2fs that names other devices, for its journal or as members, is refused: the kernel would show
   * the guest your host's. Of types that only `fstype` tells, nothing is looked at.
   *
   * The mounts last until `unmount()` or `detach()`. When the process `pid` has ended, the next one to open the home in
   * the same mount name space takes them away, also where this process was killed half-way; the directories stay. Unmount
   * before you delete `rootfs`, or you delete what the volumes hold.
   *
   * @param rootfs an existing directory of yours, whose links are followed; a relative path starts at the working
   *   directory. Not one that holds volumes or their catalog, or is held by them
   * @throws {InvalidConfigError} `rootfs` is not acceptable, or the attachment (`field` is `attachment`) is mounted
   *   already or was detached
   * @throws {UnsupportedMountError} a mount has a virtiofs option, a disk is not raw, its file system is not known to us
   *   or to the kernel, or names other devices; or the kernel is too old
   * @throws {PathEscapeError} a link stands at a mount point or above it
   * @throws {DiskImageError} the kernel does not find the disk's file system sound
   * @throws {VolumeInUseError} another program has locked a disk since it was attached; or another call of this process
   *   mounts or unmounts the attachment for 5 seconds
   * @throws {FileSystemError} the right to mount is missing (`EPERM`, `EACCES`), what stands at a mount point cannot be
   *   mounted on (`ENOTDIR`, `EISDIR`), or the system refused something else; `path` is the guest path
   */
  mountInto(rootfs: string, options?: SignalOption): Promise<void>
  /**
   * Takes the mounts of `mountInto` away, last ones first, with what others mounted below them. Without any, nothing is
   * done. They are out of sight at once; a process that still uses one keeps it until it ends, and so does a sandbox that
   * has a copy of it. A disk is in use as long. The directories that were made stay.
   * @throws {FileSystemError} `EBUSY`: another mount covers one of them; the others are gone
   * @throws {InvalidConfigError} they are in another mount name space
   * @throws {VolumeInUseError} another call of this process mounts or unmounts the attachment for 5 seconds
   */
  unmount(options?: SignalOption): Promise<void>
  /**
   * Unmounts what is mounted from this mount name space, and frees the volumes. A second call does nothing.
   * @throws {VolumeInUseError} another call of this process mounts or unmounts the attachment for 5 seconds
   * @throws {FileSystemError} `EBUSY`: another mount covers one that `mountInto` made; the attachment stays
   */
  detach(options?: SignalOption): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

// -- Errors -----------------------------------------------------------------------------------------------

/**
 * Every error of this package, but for a signal's reason. Where the package is loaded several times, as after its modules
 * were dropped from `require.cache`, `instanceof` takes the errors of all of them.
 */
export declare class VolumeError extends Error {
  /** Stable. */
  readonly code: string
  /** The volume that the error is about, where it is about one. */
  readonly volume?: string
  /**
   * The path that the error is about: as it was given, or the whole path from there where it is about an entry below. In
   * a volume it is a path from the volume's root.
   */
  readonly path?: string
  /** What `JSON.stringify` writes: `name`, `message`, all other properties, and the message of the `cause`. */
  toJSON(): { name: string; message: string; code: string; [property: string]: unknown }
}
export declare class VolumeNotFoundError extends VolumeError {
  readonly code: 'ERR_VOLUME_NOT_FOUND'
}
export declare class VolumeAlreadyExistsError extends VolumeError {
  readonly code: 'ERR_VOLUME_ALREADY_EXISTS'
}
export declare class VolumeInUseError extends VolumeError {
  readonly code: 'ERR_VOLUME_IN_USE'
  /**
   * What another operation is doing with the volume, where that takes long; missing where it is attached, or changed for
   * a moment only.
   */
  readonly operation?: 'remove'
  /** What it is attached to; missing where another operation or another program is in the way. */
  readonly sandboxes?: string[]
  /** The attachments by which it is, by their sandboxes' names; missing where `sandboxes` is. */
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
export declare class AttachmentNotFoundError extends VolumeError {
  readonly code: 'ERR_ATTACHMENT_NOT_FOUND'
}
export declare class VolumeIncompatibleError extends VolumeError {
  readonly code: 'ERR_VOLUME_INCOMPATIBLE'
  readonly differences: { field: 'kind' | 'quotaMib' | 'sizeMib' | 'format'; wanted: string; actual: string }[]
}
export declare class PathEscapeError extends VolumeError {
  readonly code: 'ERR_PATH_ESCAPE'
}
export declare class InvalidConfigError extends VolumeError {
  readonly code: 'ERR_INVALID_CONFIG'
  /** The argument or option at fault. */
  readonly field: string
}
export declare class QuotaExceededError extends VolumeError {
  readonly code: 'ERR_QUOTA_EXCEEDED'
}
export declare class UnsupportedMountError extends VolumeError {
  readonly code: 'ERR_UNSUPPORTED_MOUNT'
}
export declare class DiskImageError extends VolumeError {
  readonly code: 'ERR_DISK_IMAGE'
}
export declare class CatalogError extends VolumeError {
  readonly code: 'ERR_CATALOG'
}
/** A file operation that the system refused. `code` is Node's own: `ENOENT`, `EISDIR` … */
export declare class FileSystemError extends VolumeError {
  readonly errno: number
  readonly syscall: string
  /** Where an operation with a source and a destination led, as it was given. */
  readonly dest?: string
}
/** A defect of this package. */
export declare class InternalError extends VolumeError {
  readonly code: 'ERR_INTERNAL'
}
