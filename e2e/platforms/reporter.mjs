// A reporter of `node:test`: a line of JSON for each test, `{ name, outcome, reason }`, and one at the end. The name of
// a test within another begins with the name of that one, as in "outer > inner".

/** A test that failed only because one within it did. */
const FOLLOWS = 'subtestsFailed'

export default async function* report(events) {
  const names = []
  for await (const { type, data } of events) {
    if (type === 'test:start') {
      names.length = data.nesting
      names.push(data.name)
    } else if (type === 'test:pass' || type === 'test:fail') {
      const result = resultOf(type, data)
      names.length = data.nesting
      if (result !== null) yield `${JSON.stringify({ name: [...names, data.name].join(' > '), ...result })}\n`
    }
  }
  yield `${JSON.stringify({ end: true })}\n`
}

function resultOf(type, { details, skip, todo }) {
  if (details?.type === 'suite' && skip === undefined) return null
  if (type === 'test:fail') {
    const { error } = details
    return error?.failureType === FOLLOWS ? null : { outcome: 'failed', reason: textOf(error?.cause ?? error) }
  }
  const why = skip ?? todo
  if (why === undefined || why === false) return { outcome: 'passed' }
  return { outcome: 'skipped', reason: typeof why === 'string' && why !== '' ? why : 'no reason given' }
}

const textOf = (error) => (error instanceof Error ? error.stack : String(error))
