'use strict'

/** The texts that the native side packed: each has a NUL behind it. */
function textsOf(packed) {
  const texts = packed.split('\0')
  texts.pop()
  return texts
}

/** The values of a list that the native side packed: how many of which shape follow each other, and their texts. */
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

/** The lists of a rendering, by their names. */
function listsOf(lists) {
  return Object.fromEntries(lists.map((list) => [list.name, valuesOf(list)]))
}

/** What makes the values of a shape, which is JSON with `{}` for each text. */
function makerOf(shape) {
  if (typeof shape !== 'object' || shape === null) {
    return () => shape
  }
  if (Array.isArray(shape)) {
    const makers = shape.map(makerOf)
    // Each value has an array of its own, which a caller may change.
    return shape.some(isObject) ? (source) => makers.map((make) => make(source)) : () => shape.slice()
  }
  const names = Object.keys(shape)
  if (names.length === 0) {
    return (source) => source.texts[source.at++]
  }
  const varying = names.filter((name) => isObject(shape[name]))
  const makers = varying.map((name) => makerOf(shape[name]))
  return (source) => {
    // All of them have the fields in the same order.
    const value = { ...shape }
    for (let at = 0; at < varying.length; at += 1) {
      value[varying[at]] = makers[at](source)
    }
    return value
  }
}

const isObject = (value) => typeof value === 'object' && value !== null

module.exports = { listsOf, textsOf, valuesOf }
