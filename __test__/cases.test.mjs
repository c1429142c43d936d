// docs/cases.md and the tests that it names.
import assert from 'node:assert/strict'
import { readFileSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { root } from './support.mjs'

const self = path.basename(import.meta.filename ?? new URL(import.meta.url).pathname)

/** Returns the rows of the page: the number of each case, and the names of its tests. */
function rowsOfPage() {
  const page = readFileSync(path.join(root, 'docs/cases.md'), 'utf8')
  return [...page.matchAll(/^\| (\d+) \|.*\|([^|]*)\|$/gm)].map(([, number, tests]) => ({
    number: Number(number),
    tests: [...tests.matchAll(/`([^`]+)`/g)].map(([, name]) => name),
  }))
}

/** The source of all tests except this one. */
function testSources() {
  const texts = []
  for (const directory of ['src', 'tests', '__test__', 'e2e']) {
    for (const entry of readdirSync(path.join(root, directory), { recursive: true, withFileTypes: true })) {
      if (entry.isFile() && /\.(rs|mjs|json)$/.test(entry.name) && entry.name !== self) {
        texts.push(readFileSync(path.join(entry.parentPath ?? entry.path, entry.name), 'utf8'))
      }
    }
  }
  return texts.join('\n')
}

/** Returns the numbers of cases in the names of tests. */
function numbersIn(sources) {
  const found = new Set()
  for (const [, , rust, javascript, table] of sources.matchAll(
    /(?:\bfn (cases?)_(\d+)_|\btest\(\s*[`'"]case (\d+):|"case": (\d+)\b)/g,
  )) {
    found.add(Number(rust ?? javascript ?? table))
  }
  return found
}

test('every case has its number once and in order, and each test that it names is there', () => {
  const rows = rowsOfPage()
  assert.deepEqual(rows.map(({ number }) => number), rows.map((_, at) => at + 1))
  const sources = testSources()
  for (const { number, tests } of rows) {
    // 72 is about an operation that does not exist yet.
    assert.ok(tests.length > 0 || number === 72, `case ${number} names no test`)
    for (const name of tests) assert.ok(sources.includes(name), `case ${number} names "${name}", which no test has`)
  }
})

test('every case that a test names is on the page, with that test', () => {
  const rows = rowsOfPage()
  const numbers = numbersIn(testSources())
  assert.ok(numbers.size >= 50, `${numbers.size}`)
  for (const number of numbers) {
    const row = rows.find((row) => row.number === number)
    assert.ok(row !== undefined, `case ${number} is not on the page`)
    const isNamed = row.tests.some((name) => /^cases?[_ ]/.test(name))
    assert.ok(isNamed, `case ${number} has a test of its number, which the page does not name`)
  }
})

test('numbers are found in the names of tests, however those are written', () => {
  const sources = 'fn case_12_x() {}\nfn cases_29_and_30_x() {}\ntest(\n  `case 7: x`\ntest(\'case 8: x\'\n"case": 9,'
  assert.deepEqual([...numbersIn(sources)].sort((a, b) => a - b), [7, 8, 9, 12, 29])
})
