import type { SignalOption } from './options.js'

/** The progress of a copy. */
export interface TransferProgress {
  /** Files and symbolic links copied so far. */
  readonly files: number
  /** Bytes of content copied so far, holes included. */
  readonly bytes: number
  /** The file or link copied last, from the top of the tree. Empty if the top is a file. */
  readonly path: string
}

/** What a copy did. */
export interface TransferSummary {
  /** Files and symbolic links copied. */
  readonly files: number
  /** Bytes of content copied, holes included. */
  readonly bytes: number
  /** Symbolic links that `links: 'skip'` left out. */
  readonly skippedLinks: number
}

/**
 * Options of `copyIn` and `copyOut`.
 * @see docs/files.md#copies
 */
export interface TransferOptions extends SignalOption {
  /**
   * What happens to a symbolic link that may lead out of the copied tree. `'refuse'`: the copy fails with a
   * `PathEscapeError`. `'skip'`: the link is left out and counted. Default: `'refuse'`.
   */
  links?: 'refuse' | 'skip' | null
  /**
   * Called at most every 50 ms during the copy, and once at its end, before the copy is complete. An exception ends
   * the copy, which is then undone. Default: none.
   */
  onProgress?: ((progress: TransferProgress) => void) | null
  /**
   * Called for each entry below the top before it is copied. `false` leaves out the entry and all below it. `path` is
   * from the top, with U+FFFD for bytes that are not UTF-8. An exception ends the copy, which is then undone. A
   * promise is an `InvalidConfigError`. Default: copies all.
   */
  filter?: ((path: string, kind: 'file' | 'directory' | 'symlink' | 'other') => boolean) | null
}
