'use strict'

const { rejectDetached } = require('./bytes.js')
const { cancelWith, reasonOf, splitOptions } = require('./call.js')

/** Node's own function, even if another one replaces it later. */
const { allocUnsafeSlow } = Buffer

/** Small chunks are joined up to this length. A longer chunk is written alone. */
const MAX_JOINED_BYTES = 256 * 1024

/**
 * Calls `callback` with the outcome of a promise, and outside of the promise. So an error of a listener is an
 * uncaught exception, as with any stream.
 */
function settle(promise, callback) {
  promise.then(
    (value) => process.nextTick(callback, null, value),
    (error) => process.nextTick(callback, error),
  )
}

/**
 * Ends the operations of a stream, waits for the running chunk, and closes the file. The stream is closed when its
 * file is.
 */
function close(native, working, error, callback) {
  native.cancel()
  const closed = Promise.allSettled([working]).then(() => native.close())
  settle(closed, (failure) => callback(error ?? failure))
}

/** The classes of the streams. They are defined when the first stream is created. */
let streamClasses

/** Defines the classes. Loads `node:stream`, which takes about a millisecond, not before. */
function defineClasses() {
  const { Readable, Writable } = require('node:stream')

  class VolumeReadStream extends Readable {
    #native
    /** How many bytes are not requested yet. */
    #unread = 0
    /** The next chunk, which is read while the previous one is consumed. */
    #ahead = null
    #reading = null

    constructor(native) {
      super({ highWaterMark: native.highWaterMark })
      this.#native = native
    }

    _construct(callback) {
      if (this.destroyed) {
        callback()
        return
      }
      settle(this.#native.open(), (error, unread) => {
        this.#unread = unread ?? 0
        // The error that destroyed the stream says more.
        callback(this.destroyed ? null : error)
      })
    }

    _read() {
      const next = this.#ahead ?? this.#next()
      this.#ahead = null
      settle(next, (error, chunk) => {
        if (this.destroyed) {
          return
        }
        if (error) {
          this.destroy(error)
          return
        }
        if (this.#unread > 0) {
          this.#ahead = this.#next()
        }
        this.push(chunk)
      })
    }

    /** Reads a chunk. Returns null at the end. */
    #next() {
      if (this.#unread === 0) {
        return Promise.resolve(null)
      }
      // The native side fills the buffer on another thread, so no other code may see it before.
      const buffer = allocUnsafeSlow(Math.min(this.#native.highWaterMark, this.#unread))
      this.#reading = this.#native.read(buffer).then((length) => {
        this.#unread = length < buffer.length ? 0 : this.#unread - length
        return length === 0 ? null : buffer.subarray(0, length)
      })
      // The failure is reported to the request for this chunk.
      this.#reading.catch(() => {})
      return this.#reading
    }

    /** Ends also a running `open`, for which Node.js waits before it calls `_destroy`. */
    destroy(error, callback) {
      this.#native.cancel()
      return super.destroy(error, callback)
    }

    _destroy(error, callback) {
      close(this.#native, this.#reading, error, callback)
    }
  }

  class VolumeWriteStream extends Writable {
    #native
    #working = null

    constructor(native) {
      super({ highWaterMark: native.highWaterMark })
      this.#native = native
    }

    _construct(callback) {
      if (this.destroyed) {
        callback()
        return
      }
      // The error that destroyed the stream says more.
      settle(this.#native.open(), (error) => callback(this.destroyed ? null : error))
    }

    _write(chunk, _encoding, callback) {
      this.#work(this.#writeEach([{ chunk }]), callback)
    }

    _writev(chunks, callback) {
      this.#work(this.#writeEach(chunks), callback)
    }

    async #writeEach(chunks) {
      for (const piece of pieces(chunks)) {
        await this.#native.write(piece)
      }
    }

    _final(callback) {
      this.#work(this.#native.finish(), callback)
    }

    #work(working, callback) {
      this.#working = working
      settle(working, callback)
    }

    /** Ends also a running `open`, for which Node.js waits before it calls `_destroy`. */
    destroy(error, callback) {
      this.#native.cancel()
      return super.destroy(error, callback)
    }

    _destroy(error, callback) {
      close(this.#native, this.#working, error, callback)
    }
  }

  return { VolumeReadStream, VolumeWriteStream }
}

/**
 * Yields the pieces to write: large chunks as they are, runs of small ones as an array. The native side copies each
 * piece before the next one is requested.
 */
function* pieces(chunks) {
  let run = []
  let length = 0
  const flush = () => {
    run.forEach(rejectDetached)
    const piece = run.length === 1 ? run[0] : run
    run = []
    length = 0
    return piece
  }
  for (const { chunk } of chunks) {
    if (length > 0 && length + chunk.length > MAX_JOINED_BYTES) {
      yield flush()
    }
    run.push(chunk)
    length += chunk.length
  }
  if (run.length > 0) {
    yield flush()
  }
}

/**
 * Creates the error that Node.js destroys its own streams with. It is always an `Error`; the reason of a signal may
 * be any value.
 */
function abortError(signal) {
  const error = new Error('The operation was aborted', { cause: reasonOf(signal) })
  return Object.assign(error, { name: 'AbortError', code: 'ABORT_ERR' })
}

/**
 * Makes `signal` destroy `stream`. `addAbortSignal` of Node.js does the same with one listener per stream, and
 * warns of many.
 */
function destroyWith(signal, stream) {
  const cancel = () => stream.destroy(abortError(signal))
  if (signal.aborted) {
    cancel()
  } else {
    stream.once('close', cancelWith(signal, { cancel }))
  }
}

/** Creates a stream of the class of this name. `prepare` gets the options, and returns its native side. */
function streamOf(className, options, prepare) {
  streamClasses ??= defineClasses()
  const { signal, rest } = splitOptions(options)
  const stream = new streamClasses[className](prepare(rest))
  if (signal !== undefined) {
    destroyWith(signal, stream)
  }
  return stream
}

const readStream = (options, prepare) => streamOf('VolumeReadStream', options, prepare)
const writeStream = (options, prepare) => streamOf('VolumeWriteStream', options, prepare)

module.exports = { readStream, writeStream }
