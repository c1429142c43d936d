'use strict'

const { Readable, Writable } = require('node:stream')
const { refuseLost } = require('./bytes.js')
const { cancelWith, reasonOf, splitOptions } = require('./call.js')

/** Node's own, whatever may be in its place when a stream reads. */
const { allocUnsafeSlow } = Buffer

/** Chunks are put together up to this much, and those that are as long are written by themselves. */
const LARGE = 256 * 1024

/**
 * Calls back with how a promise ends, and outside of it, so that what a listener throws is an uncaught exception,
 * as with any stream.
 */
function settle(promise, callback) {
  promise.then(
    (value) => process.nextTick(callback, null, value),
    (error) => process.nextTick(callback, error),
  )
}

/**
 * Ends what a stream's native side does. The stream is closed when its file is, for which a chunk that is under way
 * is waited for.
 */
function close(native, working, error, callback) {
  native.cancel()
  const closed = Promise.allSettled([working]).then(() => native.close())
  settle(closed, (refused) => callback(error ?? refused))
}

class VolumeReadStream extends Readable {
  #native
  /** How many bytes nobody has asked the native side for. */
  #left = 0
  /** The next chunk, which is being read while the one before it is consumed. */
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
    settle(this.#native.open(), (error, left) => {
      this.#left = left ?? 0
      // What the stream was destroyed with says more.
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
      if (this.#left > 0) {
        this.#ahead = this.#next()
      }
      this.push(chunk)
    })
  }

  /** Reads a chunk; null at the end. */
  #next() {
    if (this.#left === 0) {
      return Promise.resolve(null)
    }
    // The native side fills it on another thread, so no other code sees it before.
    const buffer = allocUnsafeSlow(Math.min(this.#native.highWaterMark, this.#left))
    this.#reading = this.#native.read(buffer).then((length) => {
      this.#left = length < buffer.length ? 0 : this.#left - length
      return length === 0 ? null : buffer.subarray(0, length)
    })
    // A failure is told to who asks for the chunk.
    this.#reading.catch(() => {})
    return this.#reading
  }

  /** Ends opening the file as well, for which Node waits before it calls `_destroy`. */
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
    // What the stream was destroyed with says more.
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

  /** Ends opening the file as well, for which Node waits before it calls `_destroy`. */
  destroy(error, callback) {
    this.#native.cancel()
    return super.destroy(error, callback)
  }

  _destroy(error, callback) {
    close(this.#native, this.#working, error, callback)
  }
}

/**
 * What is written at once each: large chunks as they are, runs of small ones together. The native side copies each before
 * the next one is asked for.
 */
function* pieces(chunks) {
  let run = []
  let length = 0
  const flush = () => {
    run.forEach(refuseLost)
    const piece = run.length === 1 ? run[0] : run
    run = []
    length = 0
    return piece
  }
  for (const { chunk } of chunks) {
    if (length > 0 && length + chunk.length > LARGE) {
      yield flush()
    }
    run.push(chunk)
    length += chunk.length
  }
  if (run.length > 0) {
    yield flush()
  }
}

/** What Node's own streams are destroyed with: always an error, where a signal's reason may be anything. */
function abortError(signal) {
  const error = new Error('The operation was aborted', { cause: reasonOf(signal) })
  return Object.assign(error, { name: 'AbortError', code: 'ABORT_ERR' })
}

/** Has `signal` destroy `stream`. Node's `addAbortSignal` does the same with a listener each, of which it warns. */
function destroyWith(signal, stream) {
  const cancel = () => stream.destroy(abortError(signal))
  if (signal.aborted) {
    cancel()
  } else {
    stream.once('close', cancelWith(signal, { cancel }))
  }
}

/** Makes a stream of what `prepare` gives for the options. */
function streamOf(Stream, options, prepare) {
  const { signal, rest } = splitOptions(options)
  const stream = new Stream(prepare(rest))
  if (signal !== undefined) {
    destroyWith(signal, stream)
  }
  return stream
}

const readStream = (options, prepare) => streamOf(VolumeReadStream, options, prepare)
const writeStream = (options, prepare) => streamOf(VolumeWriteStream, options, prepare)

module.exports = { readStream, writeStream }
