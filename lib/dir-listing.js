'use strict'

const { isUtf8 } = require('node:buffer')
const { setImmediate: nextTurn } = require('node:timers/promises')
const { pathOf } = require('./bytes.js')
const { call, splitOptions, throwIfAborted } = require('./call.js')
const { dateOf, kindOf, permissionsOf } = require('./metadata.js')

/** How many numbers a batch has for each entry: mode, size, modification time. */
const VALUES_PER_ENTRY = 3

/** A promise of all entries, and an async iterable of them. The listing starts when the promise is awaited. */
class DirListing extends Promise {
  #begin
  #all

  static get [Symbol.species]() {
    return Promise
  }

  constructor(begin) {
    super(() => {})
    this.#begin = begin
  }

  then(onFulfilled, onRejected) {
    this.#all ??= this.#collect()
    return this.#all.then(onFulfilled, onRejected)
  }

  async *[Symbol.asyncIterator]() {
    const { listing, signal } = this.#begin(false)
    for await (const batch of batchesOf(listing, signal)) {
      for (const entry of entriesOf(batch)) {
        throwIfAborted(signal)
        yield entry
      }
    }
  }

  async #collect() {
    const { listing, signal } = this.#begin(true)
    const entries = []
    for await (const batch of batchesOf(listing, signal)) {
      for (const entry of entriesOf(batch)) {
        entries.push(entry)
      }
    }
    return entries
  }
}

/**
 * Creates the result of `list`. It copies the arguments, because the caller may change them before the listing
 * starts.
 */
function listEntries(files, relPath, options) {
  try {
    const at = pathOf(relPath)
    const { signal, rest } = splitOptions(options)
    return new DirListing((collectsAll) => ({ signal, listing: files.list(at, rest, collectsAll) }))
  } catch (error) {
    return new DirListing(() => {
      throw error
    })
  }
}

/** Yields the batches of a listing. The next batch is always requested while one is used. */
async function* batchesOf(listing, signal) {
  const next = () => {
    const batch = call(signal, (cancellation) => listing.next(cancellation))
    // The promise is awaited later, or never.
    batch.catch(() => {})
    return batch
  }
  let upcoming = next()
  try {
    while (upcoming !== undefined) {
      const batch = await upcoming
      upcoming = batch.isLast ? undefined : next()
      yield batch
      if (upcoming !== undefined) {
        // Without this, a batch that is ready would be used in the same turn of the event loop.
        await nextTurn()
      }
    }
  } finally {
    listing.close()
    await upcoming?.catch(() => {})
  }
}

/** Returns the entries of a batch. Each run of its texts is the common start of the paths, then the names. */
function entriesOf({ text, runs, stats }) {
  const texts = typeof text === 'string' ? text.split('\0') : splitBytes(text)
  const entries = []
  let at = 0
  for (const count of runs) {
    const prefix = texts[at++]
    for (const end = at + count; at < end; at++) {
      const path = typeof prefix === 'string' ? prefix + texts[at] : Buffer.concat([prefix, texts[at]])
      entries.push(entryOf(path, stats, entries.length * VALUES_PER_ENTRY))
    }
  }
  return entries
}

function entryOf(path, stats, at) {
  const mode = stats[at]
  return {
    path: path.toString(),
    pathBytes: typeof path === 'string' || isUtf8(path) ? null : path,
    kind: kindOf(mode),
    size: stats[at + 1],
    mode: permissionsOf(mode),
    modified: dateOf(stats[at + 2]),
  }
}

function splitBytes(bytes) {
  const parts = []
  for (let begin = 0; begin < bytes.length; ) {
    const end = bytes.indexOf(0, begin)
    parts.push(bytes.subarray(begin, end))
    begin = end + 1
  }
  return parts
}

module.exports = { listEntries }
