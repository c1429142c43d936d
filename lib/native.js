'use strict'

const { makeError } = require('./errors.js')
const { explainLoadFailure } = require('./load-failure.js')

function load() {
  try {
    return require('../native.js')
  } catch (error) {
    throw explainLoadFailure(error)
  }
}

const native = load()
native.connect(makeError)

module.exports = native
