'use strict'

/**
 * Whether a value is an object literal of any realm, or an object without a prototype: only these hold all they
 * have in their own properties, where a `Map` or an instance of a class would seem empty. `values.rs` has the same
 * rule.
 */
function isPlain(value) {
  if (typeof value !== 'object' || value === null) {
    return false
  }
  const prototype = Object.getPrototypeOf(value)
  return prototype === null || Object.getPrototypeOf(prototype) === null
}

/** How deep options may nest; `values.rs` has the same limit. */
const MAX_DEPTH = 4

/** A copy of plain objects, so that each property is read once, and a later change of theirs changes nothing. */
function copyOfPlain(value, depth = MAX_DEPTH) {
  if (depth === 0 || !isPlain(value)) {
    return value
  }
  // It defines properties, for one may be called "__proto__", and is several times faster than each by itself.
  const copy = { ...value }
  for (const key in copy) {
    const field = copy[key]
    if (typeof field === 'object' && field !== null && Object.hasOwn(copy, key)) {
      copy[key] = copyOfPlain(field, depth - 1)
    }
  }
  return copy
}

/** What a value that is not plain is, for messages: `a string`, `an array`, `a Map`, `an instance of Foo`. */
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
