'use strict'

const { setImmediate: nextTurn } = require('node:timers/promises')

/** The pages of a result, the event loop turning between two. */
async function* pagesOf(pages) {
  while (pages.left > 0) {
    yield pages.next()
    if (pages.left > 0) {
      await nextTurn()
    }
  }
}

/** All values of a result that comes in pages of JSON, each made into what it is to be. */
async function valuesOf(pages, make) {
  const values = []
  for await (const page of pagesOf(pages)) {
    for (const value of JSON.parse(page)) {
      values.push(make(value))
    }
  }
  return values
}

/** A text that comes in pieces, or as it is where it is short. */
async function textOf(text) {
  if (typeof text === 'string') {
    return text
  }
  let whole = ''
  for await (const piece of pagesOf(text)) {
    whole += piece
  }
  return whole
}

/** How many characters are encoded in one turn of the event loop. */
const CHARACTERS = 256 * 1024

/** Whether there is a surrogate of the half that begins at `first`. */
const isSurrogate = (text, at, first) => (text.charCodeAt(at) & 0xfc00) === first

/** Where the pieces of a text end that are encoded in one turn each, never within a surrogate pair. */
function* endsOf(text) {
  for (let end = 0; end < text.length; yield end) {
    end = Math.min(end + CHARACTERS, text.length)
    // A high surrogate may also be a lone one. Behind the end of the text there is NaN, which is no surrogate.
    const isWithinPair = isSurrogate(text, end - 1, 0xd800) && isSurrogate(text, end, 0xdc00)
    if (isWithinPair) {
      end += 1
    }
  }
}

/** Calls `use` with data to be written: at once as it is, or for a long text later with its UTF-8. */
function withEncoded(data, use) {
  return typeof data === 'string' && data.length > CHARACTERS ? encode(data).then(use) : use(data)
}

async function encode(text) {
  let [begin, length] = [0, 0]
  for (const end of endsOf(text)) {
    length += Buffer.byteLength(text.slice(begin, end))
    begin = end
    await nextTurn()
  }
  const bytes = Buffer.allocUnsafeSlow(length)
  let [from, at] = [0, 0]
  for (const end of endsOf(text)) {
    at += bytes.write(text.slice(from, end), at)
    from = end
    await nextTurn()
  }
  return bytes
}

module.exports = { textOf, valuesOf, withEncoded }
