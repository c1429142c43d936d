// docs/limits.md and the constants that it names.
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { root } from './support.mjs'

const read = (file) => readFileSync(path.join(root, file), 'utf8')

/** Returns the faults of the constants of a page, one line each. `sourceOf` returns the text of a file, or null. */
function wrongLimits(page, sourceOf) {
  const problems = []
  let count = 0
  for (const [, cell] of page.matchAll(/^\|.*\|([^|]*)\|$/gm)) {
    let file = null
    for (const [, code] of cell.matchAll(/`([^`]+)`/g)) {
      if (/^(src|lib)\//.test(code)) {
        file = code
        if (sourceOf(file) === null) problems.push(`${file} is not there`)
      } else if (file !== null) {
        count += 1
        const [, name, value] = /^([A-Z0-9_]+) = (.*)$/.exec(code) ?? []
        const escaped = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
        const wanted =
          name === undefined ? new RegExp(escaped(code)) : new RegExp(`const ${name}\\b(?:: [^=]+)? = ${escaped(value)};?\\s*$`, 'm')
        if (!wanted.test(sourceOf(file) ?? '')) problems.push(`${file} does not have ${code}`)
      }
    }
  }
  return { problems, count }
}

test('every constant of docs/limits.md has that value in that file', () => {
  const sourceOf = (file) => (existsSync(path.join(root, file)) ? read(file) : null)
  const { problems, count } = wrongLimits(read('docs/limits.md'), sourceOf)
  assert.deepEqual(problems, [])
  assert.ok(count >= 50, `${count}`)
})

test('a wrong value, a missing constant and a missing file are found', () => {
  const sourceOf = (file) => ({ 'src/a.rs': 'pub const MOST: usize = 3 * 2;\nconst T: Duration = Duration::from_secs(1);\n' })[file] ?? null
  const problemsOf = (cell) => wrongLimits(`| What | Limit | ${cell} |\n`, sourceOf).problems
  assert.deepEqual(problemsOf('`src/a.rs` `MOST = 3 * 2` `T = Duration::from_secs(1)`'), [])
  assert.equal(problemsOf('`src/a.rs` `MOST = 3`').length, 1)
  assert.equal(problemsOf('`src/a.rs` `LEAST = 3`').length, 1)
  assert.equal(problemsOf('`src/b.rs` `MOST = 3`').length, 2)
})
