'use strict'

const native = require('../native.js')
const { makeError } = require('./errors.js')

native.connect(makeError)

module.exports = native
