// The doc comments of the public types: every name has one, an IDE shows each whole, and each says where to read on.
import assert from 'node:assert/strict'
import { readFileSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

const MAX_HOVER_LINES = 6
const MAX_COLUMNS = 120

const root = fileURLToPath(new URL('..', import.meta.url))
const files = readdirSync(path.join(root, 'types')).map((name) => `types/${name}`)
const read = (file) => readFileSync(path.join(root, file), 'utf8')

/** What is wrong with the doc comments of a declaration file. */
function problemsOf(file, text) {
  const problems = []
  const lines = text.split('\n')
  lines.forEach((line, at) => {
    if (line.length > MAX_COLUMNS) problems.push(`${file}:${at + 1}: longer than ${MAX_COLUMNS} columns`)
    const [, declared] = /^export (?:declare )?(?:class|const|function|interface|type) (\w+)/.exec(line) ?? []
    const before = lines[at - 1] ?? ''
    if (declared !== undefined && !before.trimEnd().endsWith('*/')) {
      problems.push(`${file}:${at + 1}: ${declared} has no doc comment`)
    }
  })
  for (const { 0: comment, index } of text.matchAll(/\/\*\*.*?\*\//gs)) {
    const prose = comment.split(/^\s*\*\s@/m, 1)[0].split('\n').filter((line) => /[^\s/*]/.test(line))
    if (prose.length > MAX_HOVER_LINES) {
      problems.push(`${file}:${text.slice(0, index).split('\n').length}: ${prose.length} lines of prose`)
    }
  }
  return problems
}

test('every public name has a short doc comment', () => {
  assert.deepEqual(files.flatMap((file) => problemsOf(file, read(file))), [])
})

test('index.d.ts exports every file of types/', () => {
  const index = read('index.d.ts')
  assert.ok(files.length >= 10)
  for (const file of files) assert.ok(index.includes(`export * from './${file.replace(/\.d\.ts$/, '.js')}'`), file)
})

test('the check sees a missing, a long and a wide doc comment', () => {
  const prose = ' * A line.\n'
  assert.deepEqual(problemsOf('x', 'export interface A {}'), ['x:1: A has no doc comment'])
  assert.deepEqual(problemsOf('x', `/**\n${prose.repeat(7)} */\nexport interface A {}`), ['x:1: 7 lines of prose'])
  assert.deepEqual(problemsOf('x', `/**\n${prose.repeat(6)} * @see y\n${prose} */\nexport interface A {}`), [])
  assert.deepEqual(problemsOf('x', `/** ${'a'.repeat(120)} */\nexport interface A {}`), ['x:1: longer than 120 columns'])
})
