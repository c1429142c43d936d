// The summary that `npm test` prints at its end.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { cargoSummary, table } from '../scripts/test-summary.mjs'
import { tempDir } from './support.mjs'

test('the output of cargo test is counted, and what did not pass is named', () => {
  const summary = cargoSummary()
  const output = `   Compiling sandbox-volumes v0.1.0
     Running unittests src/lib.rs (target/debug/deps/sandbox_volumes-1f)
test a::works ... ok
test a::waits ... ignored, takes long
test result: ok. 1 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s
     \u001b[1mRunning\u001b[0m tests/disks.rs (target/debug/deps/disks-2f)
disk::needs_root: skipped: only root can mount an image
test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 23 filtered out; finished in 0.1s
test disk::breaks ... FAILED
test disk::works ... ok
test disk::works_too ... ok
test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s
error: test failed, to rerun pass \`--test disks\`
   Doc-tests sandbox_volumes
test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s
error: could not compile \`sandbox-volumes\` (test "x") due to 1 previous error`
  output.split('\n').forEach(summary.line)
  assert.deepEqual(summary.result(), {
    passed: 6,
    failed: 1,
    skipped: 1,
    notPassed: [
      'ignored: src/lib.rs: a::waits',
      'skipped, at least in part: tests/disks.rs: disk::needs_root: only root can mount an image',
      'failed: tests/disks.rs: disk::breaks',
      'error: could not compile `sandbox-volumes` (test "x") due to 1 previous error',
    ],
  })
})

test('the tests of node --test are counted over all files, and what did not pass is named', (t) => {
  const directory = tempDir(t)
  const file = (name) => path.join(directory, name)
  writeFileSync(
    file('one.test.mjs'),
    `import { test } from 'node:test'
     test('works', () => {})
     test('has no tool', (t) => t.skip('no mkfs'))
     test('breaks', () => { throw new Error('broken') })`,
  )
  writeFileSync(file('two.test.mjs'), `import { test } from 'node:test'\ntest('works too', (t) => t.diagnostic('fine'))`)
  const reporter = new URL('../scripts/test-summary.mjs', import.meta.url).href
  const args = [`--test-reporter=${reporter}`, `--test-reporter-destination=${file('summary')}`]
  const { status } = spawnSync(process.execPath, ['--test', ...args, file('one.test.mjs'), file('two.test.mjs')], {
    env: { ...process.env, NODE_TEST_CONTEXT: undefined },
  })
  assert.equal(status, 1)
  const { notPassed, ...counts } = JSON.parse(readFileSync(file('summary'), 'utf8'))
  assert.deepEqual(counts, { passed: 2, failed: 1, skipped: 1 })
  // Some versions of Node.js name the file too.
  assert.deepEqual(
    notPassed.filter((what) => !what.includes('one.test.mjs')),
    ['skipped: has no tool: no mkfs', 'failed: breaks'],
  )
})

test('the table has a line for each suite, one that was killed included', () => {
  const lines = table([
    { name: 'Rust', status: 0, passed: 10, failed: 0, skipped: 1, notPassed: ['ignored: x'] },
    { name: 'End to end', status: 'SIGKILL' },
  ]).split('\n')
  assert.deepEqual(
    lines.map((line) => line.trim().split(/\s+/).join(' ')),
    ['suite passed failed skipped', 'Rust 10 0 1', 'End to end ? ? ? ended with SIGKILL', '', 'Rust:', 'ignored: x'],
  )
})
