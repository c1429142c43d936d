'use strict'

/** Returns the texts that the native side packed. A NUL ends each text. */
function textsOf(packed) {
  const texts = packed.split('\0')
  texts.pop()
  return texts
}

/**
 * Returns the values of a list that the native side packed: how many values in a row have which shape, and their
 * texts.
 */
function valuesOf({ layout, texts }) {
  if (layout === undefined) {
    return textsOf(texts)
  }
  const { shapes, runs } = JSON.parse(layout)
  const makers = shapes.map(makerOf)
  const source = { texts: textsOf(texts), at: 0 }
  const values = []
  for (const [shape, count] of runs) {
    const make = makers[shape]
    for (let left = count; left > 0; left -= 1) {
      values.push(make(source))
    }
  }
  return values
}

/** Returns the lists of a rendering, keyed by their names. */
function listsOf(lists) {
  return Object.fromEntries(lists.map((list) => [list.name, valuesOf(list)]))
}

/** Returns a function that creates the values of a shape, which is JSON with `{}` for each text. */
function makerOf(shape) {
  if (typeof shape !== 'object' || shape === null) {
    return () => shape
  }
  if (Array.isArray(shape)) {
    const makers = shape.map(makerOf)
    // Each value gets a separate array, which a caller may change.
    return shape.some(isObject) ? (source) => makers.map((make) => make(source)) : () => shape.slice()
  }
  const names = Object.keys(shape)
  if (names.length === 0) {
    return (source) => source.texts[source.at++]
  }
  const varying = names.filter((name) => isObject(shape[name]))
  const makers = varying.map((name) => makerOf(shape[name]))
  return (source) => {
    // All values have the fields in the same order.
    const value = { ...shape }
    for (let at = 0; at < varying.length; at += 1) {
      value[varying[at]] = makers[at](source)
    }
    return value
  }
}

const isObject = (value) => typeof value === 'object' && value !== null

module.exports = { listsOf, textsOf, valuesOf }
