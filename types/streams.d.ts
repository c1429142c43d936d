import type { WriteOptions } from './files.js'

/**
 * Options of both kinds of streams.
 * @see docs/files.md#streams
 */
export interface StreamOptions {
  /**
   * Destroys the stream with an `AbortError` (code `ABORT_ERR`), as Node's own streams do. Its `cause` is the
   * signal's reason. Default: none.
   */
  signal?: AbortSignal | null
  /**
   * How many bytes the stream holds before it waits, an integer from 1 to 2^30 (1 GiB). A read stream reads as much
   * at once, and one chunk ahead. Default: 512 KiB.
   */
  highWaterMark?: number | null
}

/** Options of `readStream`. */
export interface ReadStreamOptions extends StreamOptions {
  /** The first byte to read, an integer from 0 to 2^53 - 1. Default: 0. */
  start?: number | null
  /** The last byte to read, included, an integer from `start` to 2^53 - 1. Default: the file's last. */
  end?: number | null
}

/** Options of `writeStream`. */
export interface WriteStreamOptions extends StreamOptions, Pick<WriteOptions, 'mode'> {
  /**
   * Keeps the old content until the stream finishes, and then replaces it at once. A stream that fails or is
   * destroyed leaves the file as it was. Not together with `append` or `start`. Default: `false`.
   */
  atomic?: boolean | null
  /** The file is on disk before `'finish'`, as for `write`. Default: `false`. */
  durable?: boolean | null
  /** Writes at the end of the file, also behind what other writers append. Default: `false`. */
  append?: boolean | null
  /**
   * Overwrites from this byte on, an integer from 0 to 2^53 - 1, and truncates nothing. Not together with `append`.
   * Default: the file is emptied when it is opened.
   */
  start?: number | null
}
