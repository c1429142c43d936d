// The table of docs/install.md is what the recorded run of `npm run test:install` says, for the tools that it has now.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { rows } from '../e2e/install/rows.mjs'
import { generatedPart, recorded, tableOf } from '../e2e/install/table.mjs'
import { readPage } from './docs-pages.mjs'
import { root } from './support.mjs'

const CURE = 'Run "npm run test:install -- --update".'

test('the recorded run has every row, with the version that the row has now', () => {
  const wanted = Object.fromEntries(rows.map(({ title, version }) => [title, version]))
  assert.deepEqual(recorded().passed, wanted, CURE)
})

test('docs/install.md has the table of the recorded run', () => {
  assert.equal(generatedPart(readPage(root, 'docs/install.md')), tableOf(recorded()), CURE)
})

test('each row says what a user writes and what the test did', () => {
  for (const { title, name, version, write, checks } of rows) {
    assert.match(version ?? '', /^\d+\.\d+\.\d+$/, title)
    for (const cell of [name, write, checks]) {
      assert.doesNotMatch(cell ?? '', /\||^$/, title)
    }
  }
})
