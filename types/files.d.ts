import type { Readable, Writable } from 'node:stream'
import type { TransferOptions, TransferSummary } from './copies.js'
import type { SignalOption } from './options.js'
import type { ReadStreamOptions, WriteStreamOptions } from './streams.js'

/**
 * Options of `write` and `writeString`.
 * @see docs/files.md#read-and-write
 */
export interface WriteOptions extends SignalOption {
  /**
   * A reader or a crash sees the old or the new content, never a mix. A new file replaces the old one, with its mode,
   * ACL, extended attributes and, where permitted, its owner. Other hard links keep the old content. A plain write
   * changes the existing file, which all its hard links see. Default: `false`.
   * @see docs/files.md#read-and-write
   */
  atomic?: boolean | null
  /**
   * The content, and the name of a new or replaced file, are on disk before the promise resolves. Default: `false`.
   * @see docs/durability-and-crash-safety.md#durability-of-files
   */
  durable?: boolean | null
  /** The mode of a file that does not exist yet, less the umask, at most 0o7777. Default: `0o644`. */
  mode?: number | null
}

/** Options of `append`. */
export interface AppendOptions extends SignalOption {
  /** The data is on disk before the promise resolves, as for `write`. Default: `false`. */
  durable?: boolean | null
  /** The mode of a file that does not exist yet, less the umask, at most 0o7777. Default: `0o644`. */
  mode?: number | null
}

/**
 * A path from the volume's root: a string, or bytes for a name that is not UTF-8. Bytes are copied in the call. A
 * detached buffer, and a string with a lone surrogate, is an `InvalidConfigError`.
 * @see docs/files.md#paths
 */
export type VolumePath = string | Uint8Array

/**
 * The files of one volume. Paths begin at its root and use `/`; `''` and `'.'` are the root. A path or symbolic link
 * that leads outside is a `PathEscapeError`, also while a guest changes the tree. Only regular files are read and
 * written; others are `ENOTSUP`. A file on which a guest holds a lease is waited for, up to 45 seconds by default;
 * 16 copies of a volume that wait so hold up its other copies.
 * @see docs/files.md
 */
export declare class VolumeFs {
  private constructor()
  /** The absolute host path of the data directory. */
  readonly root: string
  /**
   * Reads a whole file, up to 2 GiB. A longer one is `EFBIG`.
   * @example
   * const bytes = await volume.fs().read('data.bin')
   */
  read(relPath: VolumePath, options?: SignalOption): Promise<Buffer>
  /**
   * Reads a whole file as text, up to 512 MiB less 24 bytes. A longer one is `EFBIG`, invalid UTF-8 is `EILSEQ`. A
   * large file is decoded in slices; the event loop runs between them.
   * @example
   * const text = await volume.fs().readString('notes.txt')
   */
  readString(relPath: VolumePath, options?: SignalOption): Promise<string>
  /**
   * Creates or replaces a file in an existing directory. Leave `data` alone until the promise settles: up to 64 KiB
   * are copied in the call, a longer buffer slice by slice. Plain writes of one file in one process run one after the
   * other. That wait has no limit but the signal.
   * @throws {InvalidConfigError} an argument is invalid, or `data` was detached or shortened before it was copied
   * @throws {QuotaExceededError} the quota leaves too little; nothing was written
   * @example
   * await volume.fs().write('data.bin', new Uint8Array([1, 2, 3]), { atomic: true })
   * @see docs/files.md#read-and-write
   */
  write(relPath: VolumePath, data: Uint8Array | string, options?: WriteOptions): Promise<void>
  /** As `write`, of text in UTF-8. */
  writeString(relPath: VolumePath, content: string, options?: WriteOptions): Promise<void>
  /**
   * Adds to the end of a file, and creates a missing one in an existing directory. What other writers append stays.
   * If `data` is detached before it was copied, nothing is added.
   * @throws {QuotaExceededError} the quota leaves too little; nothing was written
   * @example
   * await volume.fs().append('log.txt', 'one more line\n')
   */
  append(relPath: VolumePath, data: Uint8Array | string, options?: AppendOptions): Promise<void>
  /**
   * Copies a file or a tree within the volume. `to` is the exact path of the copy. A file there is replaced when the
   * copy is whole; a directory there is merged into. Permissions and `user.*` attributes are kept; times, ACLs,
   * set-id bits and hard links are not. A copy that fails is removed again. It does not wait for the disk.
   * @throws {QuotaExceededError} the quota leaves too little
   * @throws {FileSystemError} `ENOTDIR` or `EISDIR`: a directory meets a file; `ENOTSUP`: a FIFO, socket or device;
   *   `EINVAL`: a directory into itself, or a file onto itself; `EBUSY`: a mount below
   * @example
   * await volume.fs().copy('template', 'sessions/1')
   * @see docs/files.md#copies
   */
  copy(from: VolumePath, to: VolumePath, options?: SignalOption): Promise<void>
  /**
   * Copies a file or a tree of the host into the volume, as `copy` does. `hostPath` may be relative to the current
   * directory, and links in it are followed. The copies belong to this process's user. A volume, the catalog, or a
   * directory that holds them is an `InvalidConfigError`.
   * @throws {PathEscapeError} a link in the tree may lead out of it; names the link; see `links`
   * @throws {QuotaExceededError} the quota leaves too little
   * @example
   * const { files, bytes } = await volume.fs().copyIn('./project', 'work')
   * @see docs/files.md#copies
   */
  copyIn(hostPath: string, relPath: VolumePath, options?: TransferOptions): Promise<TransferSummary>
  /**
   * Copies a file or a tree of the volume to the host, as `copy` does. Nothing is written outside `hostPath`,
   * whatever a guest does during the copy. A link at `hostPath` is followed to a directory that a tree is merged
   * into; a file replaces the link. Set-id and sticky bits are dropped. A volume without a limit can fill the host's
   * disk.
   * @throws {PathEscapeError} a link in the tree may lead out of it; names the link; see `links`
   * @example
   * await volume.fs().copyOut('work/dist', './dist')
   * @see docs/files.md#copies
   */
  copyOut(relPath: VolumePath, hostPath: string, options?: TransferOptions): Promise<TransferSummary>
  /**
   * Returns a stream of a file of any size. Problems with the file are `'error'` events. It reads to the length that
   * the file had when it was opened. A file that was renamed, or whose volume was removed, is read to its end.
   * @throws {InvalidConfigError} an option or the path is invalid
   * @example
   * await pipeline(volume.fs().readStream('video.mp4'), response)
   * @see docs/files.md#streams
   */
  readStream(relPath: VolumePath, options?: ReadStreamOptions): Readable
  /**
   * Returns a stream that creates or replaces a file in an existing directory. Problems with the file are `'error'`
   * events. A plain stream empties the file when it is opened, and keeps what it wrote however it ends. An `atomic`
   * one changes nothing unless it finishes. Leave a chunk alone until it is written.
   * @throws {InvalidConfigError} an option or the path is invalid
   * @example
   * await pipeline(request, volume.fs().writeStream('upload.bin', { atomic: true }))
   * @see docs/files.md#streams
   */
  writeStream(relPath: VolumePath, options?: WriteStreamOptions): Writable
  /**
   * Creates a directory and all that are missing above it, with mode 0o755 less the umask. An existing one is fine.
   * @throws {QuotaExceededError} a new directory counts as 4 KiB, which the quota does not leave; nothing was created
   */
  mkdir(relPath: VolumePath, options?: SignalOption): Promise<void>
  /** Removes a file, a symbolic link (never its target) or an empty directory. */
  remove(relPath: VolumePath, options?: SignalOption): Promise<void>
  /**
   * Removes an entry and all below it. A missing one is fine; the root is refused. Once begun it runs to its end.
   * @throws {FileSystemError} `EBUSY`: a mount below, or a guest that fills the tree as fast; the rest stays.
   *   `EACCES`: another user owns a file, and it cannot be deleted as `removeVolume` would
   * @see docs/files.md#directories
   */
  removeAll(relPath: VolumePath, options?: SignalOption): Promise<void>
  /** Returns whether the path leads to an entry. Rejects if that cannot be determined. */
  exists(relPath: VolumePath, options?: SignalOption): Promise<boolean>
  /**
   * Lists a directory. Awaited: an array sorted by the bytes of the names, at most 2,000,000 entries and 256 MiB of
   * names (`EFBIG`). In `for await`: any number of entries, in the order of the file system, in bounded memory. Links
   * are not followed and mounts not entered. An entry that this process may not examine is `EACCES`.
   * @example
   * for await (const { path, kind } of volume.fs().list('', { recursive: true })) console.log(kind, path)
   * @see docs/files.md#directories
   */
  list(relPath: VolumePath, options?: ListFilesOptions): DirListing
  /**
   * Returns what is at a path. Follows a symbolic link there; one that leads outside is a `PathEscapeError`. Never
   * opens the file.
   */
  stat(relPath: VolumePath, options?: StatOptions): Promise<FileMetadata>
  /**
   * Renames an entry within the volume in one step. Replaces a file, or for a directory an empty one. Acts on a
   * symbolic link itself. The root is refused.
   * @throws {FileSystemError} `EINVAL`: a directory into itself; `EXDEV`: another mount, or a directory of a lower
   *   overlay layer, which can be copied and removed instead
   */
  rename(from: VolumePath, to: VolumePath, options?: SignalOption): Promise<void>
}

/** Options of `VolumeFs.list`. */
export interface ListFilesOptions extends SignalOption {
  /**
   * Lists all that is below the directory, at any depth. Directories that are created during the listing are not
   * entered, except on overlayfs, where a million changed directories are `EBUSY`. Default: `false`.
   */
  recursive?: boolean | null
}

/** Options of `VolumeFs.stat`. */
export interface StatOptions extends SignalOption {
  /** `false`: examines a symbolic link at the end of the path itself. Default: `true`. */
  followSymlinks?: boolean | null
}

/** The kind of an entry. A FIFO, a socket and a device are `'other'`. */
export type FileKind = 'file' | 'directory' | 'symlink' | 'other'

/** An entry of a directory. Of a symbolic link, the properties of the link itself. */
export interface DirEntry {
  /** The path from the volume's root. U+FFFD replaces bytes that are not UTF-8; `pathBytes` then has the path. */
  readonly path: string
  /** The path if it is not UTF-8, else `null`. Every method takes `entry.pathBytes ?? entry.path`. */
  readonly pathBytes: Buffer | null
  readonly kind: FileKind
  /** The length in bytes. Beyond 2^53 the nearest number. */
  readonly size: number
  /** Permission bits, at most 0o7777. */
  readonly mode: number
  /** When the content last changed, to the millisecond. `null` if no `Date` can hold the time. */
  readonly modified: Date | null
}

/** A promise of all entries of a directory, and an async iterable of them. Each use reads the directory again. */
export interface DirListing extends Promise<DirEntry[]>, AsyncIterable<DirEntry> {}

/** What `stat` returns. */
export interface FileMetadata {
  readonly kind: FileKind
  /** The length in bytes. Beyond 2^53 the nearest number. */
  readonly size: number
  /** Bytes allocated on the host; less than `size` for a sparse file. */
  readonly allocatedBytes: number
  /** Permission bits, at most 0o7777. */
  readonly mode: number
  /** Whether no permission bit allows writing. */
  readonly readonly: boolean
  /** The owner, as a user id of the host. */
  readonly uid: number
  /** The group, as a group id of the host. */
  readonly gid: number
  /** The number of names (hard links). */
  readonly nlink: number
  /** When the content last changed, to the millisecond. `null` if no `Date` can hold the time. */
  readonly modified: Date | null
  /** When the content was last read, as far as the host's mount records it. */
  readonly accessed: Date | null
  /** When it was created. `null` if the file system does not record it. */
  readonly created: Date | null
}
