// Counts the tests of `cargo test` and of `node --test`, and names those that did not pass.
import { stripVTControlCharacters } from 'node:util'

/** Takes the lines that `cargo test` prints. */
export function cargoSummary() {
  const counts = { passed: 0, failed: 0, skipped: 0 }
  const notPassed = new Set()
  let binary = 'cargo'
  const line = (text) => {
    const plain = stripVTControlCharacters(text)
    const running = /^\s+Running (?:unittests )?(\S+)/.exec(plain) ?? /^\s+(Doc-tests \S+)/.exec(plain)
    const test = /^test (.+) \.\.\. (FAILED|ignored)/.exec(plain)
    // A test that runs itself again in a process of its own filters, and is counted there.
    const result = /^test result: .* (\d+) passed; (\d+) failed; (\d+) ignored; .* 0 filtered out/.exec(plain)
    const skipped = /^(.+): skipped: (.+)$/.exec(plain)
    const broken = /^error(?:\[E\d+\])?: (?!test failed|\d+ targets? failed)/.test(plain)
    if (running) {
      binary = running[1]
    } else if (test) {
      notPassed.add(`${test[2] === 'FAILED' ? 'failed' : 'ignored'}: ${binary}: ${test[1]}`)
    } else if (result) {
      counts.passed += Number(result[1])
      counts.failed += Number(result[2])
      counts.skipped += Number(result[3])
    } else if (skipped) {
      notPassed.add(`skipped, at least in part: ${binary}: ${skipped[1]}: ${skipped[2]}`)
    } else if (broken) {
      notPassed.add(plain)
    }
  }
  return { line, result: () => ({ ...counts, notPassed: [...notPassed] }) }
}

/** A reporter of `node --test`, which gives what the other summary does as JSON. */
export default async function* report(events) {
  const counts = { passed: 0, failed: 0, skipped: 0 }
  const column = { pass: 'passed', fail: 'failed', cancelled: 'failed', skipped: 'skipped', todo: 'skipped' }
  const notPassed = []
  for await (const { type, data } of events) {
    const reason = (value) => (typeof value === 'string' && value !== '' ? `: ${value}` : '')
    if (type === 'test:diagnostic') {
      const [, name, count] = /^(pass|fail|cancelled|skipped|todo) (\d+)$/.exec(data.message) ?? []
      if (name !== undefined) {
        counts[column[name]] += Number(count)
      }
    } else if (type === 'test:fail') {
      notPassed.push(`failed: ${data.name}`)
    } else if (type === 'test:pass' && data.skip !== undefined && data.skip !== false) {
      notPassed.push(`skipped: ${data.name}${reason(data.skip)}`)
    } else if (type === 'test:pass' && data.todo !== undefined && data.todo !== false) {
      notPassed.push(`to do: ${data.name}${reason(data.todo)}`)
    }
  }
  yield JSON.stringify({ ...counts, notPassed })
}

/** The counts of all suites, and below them by name what did not pass. */
export function table(results) {
  const columns = ['passed', 'failed', 'skipped']
  const row = (name, cells) => `${name.padEnd(12)}${cells.map((cell) => String(cell).padStart(9)).join('')}`
  const lines = [row('suite', columns)]
  for (const result of results) {
    const outcome = result.status === 0 ? '' : `   ended with ${result.status}`
    lines.push(row(result.name, columns.map((column) => result[column] ?? '?')) + outcome)
  }
  for (const { name, notPassed } of results.filter(({ notPassed }) => notPassed?.length > 0)) {
    lines.push('', `${name}:`, ...notPassed.map((what) => `  ${what}`))
  }
  return lines.join('\n')
}
