'use strict'

const { setImmediate: nextTurn } = require('node:timers/promises')

/** Yields the pages of a result. The event loop turns between two pages. */
async function* pagesOf(pages) {
  while (pages.left > 0) {
    yield pages.next()
    if (pages.left > 0) {
      await nextTurn()
    }
  }
}

/** Collects the values of a result that comes in pages of JSON. `make` converts each one. */
async function valuesOf(pages, make) {
  const values = []
  for await (const page of pagesOf(pages)) {
    for (const value of JSON.parse(page)) {
      values.push(make(value))
    }
  }
  return values
}

/** Returns a text that is passed in pieces, or as a string if it is short. */
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
const CHARACTERS_PER_TURN = 256 * 1024

/** Whether the character is a surrogate of the half that begins at `first`. */
const isSurrogate = (text, at, first) => (text.charCodeAt(at) & 0xfc00) === first

/** Yields the ends of the pieces of a text, each encoded in one turn. Never cuts a surrogate pair. */
function* endsOf(text) {
  for (let end = 0; end < text.length; yield end) {
    end = Math.min(end + CHARACTERS_PER_TURN, text.length)
    // A high surrogate may also be a lone one. After the end of the text the code is NaN, which is not a surrogate.
    const isWithinPair = isSurrogate(text, end - 1, 0xd800) && isSurrogate(text, end, 0xdc00)
    if (isWithinPair) {
      end += 1
    }
  }
}

/** Calls `use` with the data of a write: at once with the data itself, or later with the UTF-8 of a long text. */
function withEncoded(data, use) {
  return typeof data === 'string' && data.length > CHARACTERS_PER_TURN ? encode(data).then(use) : use(data)
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
