// What loading the package does besides loading the addon, and that both kinds of modules get the same names.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { outputOf } from './support.mjs'

/** Returns the names that a program prints as JSON. */
const namesOf = async (source, type) => JSON.parse(await outputOf(source, { type }))

test('import finds each name that require returns', async () => {
  const required = await namesOf('console.log(JSON.stringify(Object.keys(require(process.env.SV))))', 'commonjs')
  const imported = await namesOf('console.log(JSON.stringify(Object.keys(await import(process.env.SV))))', 'module')
  const additional = ['default', 'module.exports']
  assert.ok(required.length >= 30)
  assert.deepEqual(imported.filter((name) => !additional.includes(name)).sort(), required.sort())
})

test('loading the package loads nothing that takes long and that most programs do not need', async () => {
  const loaded = await namesOf(
    `const before = new Set(process.moduleLoadList)
     require(process.env.SV)
     console.log(JSON.stringify(process.moduleLoadList.filter((name) => !before.has(name))))`,
    'commonjs',
  )
  const slow = ['stream', 'os', 'child_process', 'crypto', 'worker_threads', 'fs/promises', 'net', 'http']
  assert.deepEqual(loaded.filter((name) => slow.includes(name.replace('NativeModule ', ''))), [])
})

test('loading the package loads each file of lib, except what explains a failure', async () => {
  // A file that is loaded later may be of another version by then, if the package was updated since.
  const loaded = await namesOf(
    `const path = require('node:path')
     require(process.env.SV)
     const lib = path.join(path.dirname(process.env.SV), 'lib')
     const { readdirSync } = require('node:fs')
     const files = readdirSync(lib).filter((name) => name.endsWith('.js'))
     console.log(JSON.stringify(files.filter((name) => require.cache[path.join(lib, name)] === undefined)))`,
    'commonjs',
  )
  assert.deepEqual(loaded, ['load-failure.js'])
})
