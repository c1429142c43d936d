// Judges what the test files of a platform reported, by the list of skips.

/**
 * Returns the counts of a platform, and what to report of it by name. A failing test that the list names is
 * skipped. A test of the list that passes is stale, and fails the run, as does one that no file has.
 */
export function judge(platform, files, skips) {
  const counts = { passed: 0, failed: 0, skipped: 0 }
  const failures = []
  const skipped = []
  const matched = new Set()
  const listed = skips.filter(({ platforms }) => platforms.includes(platform))
  for (const { file, tests, fault } of files) {
    for (const { name, outcome, reason } of tests) {
      const skip = listed.find((each) => each.file === file && each.test === name)
      if (skip !== undefined) matched.add(skip)
      if (outcome === 'failed' && skip === undefined) {
        failures.push(`${file}: ${name}\n${indented(reason)}`)
      } else if (outcome === 'passed' && skip !== undefined && !skip.sometimes) {
        failures.push(`${file}: ${name}\n    It passes, so its line in skips.mjs is stale: remove it.`)
      } else if (outcome === 'passed') {
        counts.passed += 1
      } else {
        skipped.push({ test: `${file}: ${name}`, reason: outcome === 'failed' ? skip.reason : reason })
      }
    }
    if (fault !== null) failures.push(`${file}\n${indented(fault)}`)
  }
  const ran = new Set(files.map(({ file }) => file))
  for (const { file, test } of listed.filter((skip) => ran.has(skip.file) && !matched.has(skip))) {
    failures.push(`${file}: ${test}\n    No such test ran, so its line in skips.mjs is stale: remove it.`)
  }
  counts.failed = failures.length
  counts.skipped = skipped.length
  return { ...counts, failures, skips: skipped }
}

const indented = (text) => text.replace(/^/gm, '    ')

/**
 * Returns the tests of a file from what the reporter wrote, and its fault: why the file did not run to its end, or
 * null.
 */
export function testsOf(file, text, ended, output) {
  const lines = text.split('\n').filter((line) => line !== '').map((line) => JSON.parse(line))
  const tests = lines.filter(({ name }) => name !== undefined)
  const complete = lines.some(({ end }) => end)
  const failed = tests.some(({ outcome }) => outcome === 'failed')
  const wrong = !complete ? 'ended before its tests did' : ended !== 0 && !failed ? 'failed outside of its tests' : null
  return { file, tests, fault: wrong && `It ${wrong}, with ${ended}.\n${output.slice(-4000)}` }
}

/** Returns the table of all platforms, and below it what was skipped and what failed, by name. */
export function table(rows) {
  const columns = ['name', 'libc', 'node', 'passed', 'failed', 'skipped']
  const cells = [
    ['platform', 'libc', 'Node.js', 'passed', 'failed', 'skipped'],
    ...rows.map((row) => columns.map((column) => String(row[column]))),
  ]
  const widths = cells[0].map((_, at) => Math.max(...cells.map((row) => row[at].length)))
  const lines = cells.map((row) =>
    row.map((cell, at) => (at < 3 ? cell.padEnd(widths[at]) : cell.padStart(widths[at]))).join('  ').trimEnd(),
  )
  for (const { name, skips } of rows.filter(({ skips }) => skips.length > 0)) {
    lines.push('', `${name} skipped:`)
    for (const [reason, tests] of byReason(skips)) lines.push(`  ${reason}`, ...tests.map((test) => `    ${test}`))
  }
  for (const { name, failures } of rows.filter(({ failures }) => failures.length > 0)) {
    lines.push('', `${name} failed:`, ...failures.map((failure) => failure.replace(/^/gm, '  ')))
  }
  const total = (column) => rows.reduce((sum, row) => sum + row[column], 0)
  lines.push('', `${total('passed')} passed, ${total('failed')} failed, ${total('skipped')} skipped`)
  return lines.join('\n')
}

function byReason(skips) {
  const reasons = new Map()
  for (const { test, reason } of skips) reasons.set(reason, [...(reasons.get(reason) ?? []), test])
  return reasons
}
