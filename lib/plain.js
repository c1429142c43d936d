'use strict'

/**
 * Whether a value is an object literal of any realm, or an object without a prototype. Only these hold all their
 * properties themselves: a `Map` or an instance of a class would seem empty. `src/node/runtime/convert.rs` has the
 * same rule.
 */
function isPlain(value) {
  if (typeof value !== 'object' || value === null) {
    return false
  }
  const prototype = Object.getPrototypeOf(value)
  return prototype === null || Object.getPrototypeOf(prototype) === null
}

/** How deep options may nest. `src/node/runtime/convert.rs` has the same limit. */
const MAX_DEPTH = 4

/** Copies plain objects, so that each property is read once, and later changes have no effect. */
function copyOfPlain(value, depth = MAX_DEPTH) {
  if (depth === 0 || !isPlain(value)) {
    return value
  }
  // The spread defines properties, because a key may be "__proto__". It is several times faster than a loop.
  const copy = { ...value }
  for (const key in copy) {
    const field = copy[key]
    if (typeof field === 'object' && field !== null && Object.hasOwn(copy, key)) {
      copy[key] = copyOfPlain(field, depth - 1)
    }
  }
  return copy
}

/** Names a value that is not plain, for messages: `a string`, `an array`, `a Map`, `an instance of Foo`. */
function describe(value) {
  if (value === undefined || value === null) {
    return 'nothing'
  }
  if (typeof value !== 'object') {
    return `a ${typeof value}`
  }
  if (Array.isArray(value)) {
    return 'an array'
  }
  const tag = Object.prototype.toString.call(value).slice('[object '.length, -1)
  if (tag !== 'Object') {
    return `${/^[AEIO]/.test(tag) ? 'an' : 'a'} ${tag}`
  }
  const name = value.constructor?.name
  return typeof name === 'string' && !['', 'Object'].includes(name)
    ? `an instance of ${name}`
    : 'an object that is not plain'
}

module.exports = { copyOfPlain, describe, isPlain }
