// What `npm run test:platforms` makes of the results of tests, and of its list of skips.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { platforms } from '../e2e/platforms/platforms.mjs'
import { judge, table, testsOf } from '../e2e/platforms/results.mjs'
import { checkoutOnly, skips } from '../e2e/platforms/skips.mjs'
import { root, tempDir } from './support.mjs'

const line = (test, options) => ({ platforms: ['here'], file: 'a.test.mjs', test, reason: 'no such kernel', ...options })
const tests = [
  { name: 'works', outcome: 'passed' },
  { name: 'breaks', outcome: 'failed', reason: 'Error: broken' },
  { name: 'has no tool', outcome: 'skipped', reason: 'no mkfs' },
]
const ran = [{ file: 'a.test.mjs', tests, fault: null }]

test('a failing test of the list is skipped with its reason, and another one fails', () => {
  const { skips: skipped, ...rest } = judge('here', ran, [line('breaks')])
  assert.deepEqual(rest, { passed: 1, failed: 0, skipped: 2, failures: [] })
  assert.deepEqual(skipped, [
    { test: 'a.test.mjs: breaks', reason: 'no such kernel' },
    { test: 'a.test.mjs: has no tool', reason: 'no mkfs' },
  ])
  const elsewhere = judge('there', ran, [line('breaks')])
  assert.deepEqual(elsewhere.failures, ['a.test.mjs: breaks\n    Error: broken'])
  assert.equal(elsewhere.failed, 1)
})

test('a line of the list whose test passes, or is not there, is stale', () => {
  const { failed, failures } = judge('here', ran, [line('breaks'), line('works'), line('is gone')])
  assert.equal(failed, 2)
  assert.match(failures[0], /^a\.test\.mjs: works\n.*stale/)
  assert.match(failures[1], /^a\.test\.mjs: is gone\n.*stale/)
})

test('a test that fails only sometimes is not stale, and nor is one of a file that did not run', () => {
  const listed = [line('breaks'), line('works', { sometimes: true }), { ...line('x'), file: 'b.test.mjs' }]
  assert.equal(judge('here', ran, listed).failed, 0)
})

test('a file that does not run to its end, or fails outside of its tests, fails', () => {
  const complete = '{"name":"works","outcome":"passed"}\n{"end":true}\n'
  assert.equal(testsOf('a.test.mjs', complete, 0, '').fault, null)
  assert.match(testsOf('a.test.mjs', complete, 1, 'TypeError').fault, /failed outside of its tests, with 1\.\nTypeError/)
  assert.match(testsOf('a.test.mjs', '', 'SIGSEGV', '').fault, /ended before its tests did, with SIGSEGV/)
  const { failed } = judge('here', [testsOf('a.test.mjs', '', 'SIGSEGV', '')], [])
  assert.equal(failed, 1)
})

test('the reporter names each test once, with those around it, and with its reason', (t) => {
  const directory = tempDir(t)
  const [file, to] = ['x.test.mjs', 'results'].map((name) => path.join(directory, name))
  writeFileSync(
    file,
    `import { describe, test } from 'node:test'
     test('works', () => {})
     test('has no tool', { skip: 'no mkfs' }, () => {})
     describe('of a suite', () => {
       test('outer', async (t) => {
         await t.test('inner', () => { throw new Error('broken') })
         await t.test('other', () => {})
       })
     })`,
  )
  const reporter = new URL('../e2e/platforms/reporter.mjs', import.meta.url).href
  const { status } = spawnSync(process.execPath, [`--test-reporter=${reporter}`, `--test-reporter-destination=${to}`, file], {
    env: { ...process.env, NODE_TEST_CONTEXT: undefined },
  })
  const { tests: found, fault } = testsOf('x.test.mjs', readFileSync(to, 'utf8'), status, '')
  assert.equal(fault, null)
  assert.deepEqual(
    found.map(({ name, outcome, reason }) => [name, outcome, reason?.split('\n')[0]]),
    [
      ['works', 'passed', undefined],
      ['has no tool', 'skipped', 'no mkfs'],
      ['of a suite > outer > inner', 'failed', 'Error: broken'],
      ['of a suite > outer > other', 'passed', undefined],
    ],
  )
})

test('the table names what was skipped and what failed, and ends with the sums', () => {
  const row = { libc: 'glibc 2.31', node: 'v24.0.0', ...judge('here', ran, []) }
  const lines = table([{ name: 'here', ...row }, { name: 'there', ...row }]).split('\n')
  assert.match(lines[1], /^here +glibc 2\.31 +v24\.0\.0 +1 +1 +1$/)
  assert.ok(lines.includes('    a.test.mjs: has no tool'))
  assert.ok(lines.includes('  a.test.mjs: breaks'))
  assert.equal(lines.at(-1), '2 passed, 2 failed, 2 skipped')
})

test('every line of the list names a platform, a test file and a reason', () => {
  for (const { platforms: named, file, test, reason } of skips) {
    assert.ok(named.length > 0 && named.every((each) => platforms.some(({ name }) => name === each)), test)
    assert.ok(existsSync(path.join(root, '__test__', file)), file)
    assert.ok(reason.length > 20, test)
  }
  for (const [file, reason] of Object.entries(checkoutOnly)) {
    assert.ok(existsSync(path.join(root, '__test__', file)) && reason.length > 20, file)
  }
})
