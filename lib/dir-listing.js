'use strict'

const { isUtf8 } = require('node:buffer')
const { setImmediate: nextTurn } = require('node:timers/promises')
const { pathOf } = require('./bytes.js')
const { call, splitOptions, throwIfAborted } = require('./call.js')
const { dateOf, kindOf, permissionsOf } = require('./metadata.js')

/** How many numbers the native side tells of an entry: mode, size, modified. */
const FACTS = 3

/** A promise of all entries that is worked on once somebody waits for it, and an async iterable of them. */
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

/** What `list` gives. The arguments are those of the call, whatever becomes of them before the listing begins. */
function listEntries(files, relPath, options) {
  try {
    const at = pathOf(relPath)
    const { signal, rest } = splitOptions(options)
    return new DirListing((isWhole) => ({ signal, listing: files.list(at, rest, isWhole) }))
  } catch (error) {
    return new DirListing(() => {
      throw error
    })
  }
}

/** The batches of a listing, the next one always under way while one is used. */
async function* batchesOf(listing, signal) {
  const next = () => {
    const batch = call(signal, (cancellation) => listing.next(cancellation))
    // It is awaited later, or not any more.
    batch.catch(() => {})
    return batch
  }
  let coming = next()
  try {
    while (coming !== undefined) {
      const batch = await coming
      coming = batch.isLast ? undefined : next()
      yield batch
      if (coming !== undefined) {
        // Otherwise one that is here already would be used in the same turn of the event loop.
        await nextTurn()
      }
    }
  } finally {
    listing.close()
    await coming?.catch(() => {})
  }
}

/** The entries of a batch: for each run what their paths begin with, and then their names. */
function entriesOf({ text, runs, facts }) {
  const texts = typeof text === 'string' ? text.split('\0') : splitBytes(text)
  const entries = []
  let at = 0
  for (const count of runs) {
    const prefix = texts[at++]
    for (const end = at + count; at < end; at++) {
      const path = typeof prefix === 'string' ? prefix + texts[at] : Buffer.concat([prefix, texts[at]])
      entries.push(entryOf(path, facts, entries.length * FACTS))
    }
  }
  return entries
}

function entryOf(path, facts, at) {
  const mode = facts[at]
  return {
    path: path.toString(),
    pathBytes: typeof path === 'string' || isUtf8(path) ? null : path,
    kind: kindOf(mode),
    size: facts[at + 1],
    mode: permissionsOf(mode),
    modified: dateOf(facts[at + 2]),
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
