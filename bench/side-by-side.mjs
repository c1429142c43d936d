// Interleaved rounds of several candidates, so that load on the machine affects all of them.

const median = (times) => times.sort((a, b) => a - b)[times.length >> 1]

/** Runs `operations` calls, `atOnce` at a time. Returns the microseconds per call. */
async function round(operation, operations, atOnce) {
  const start = process.hrtime.bigint()
  for (let done = 0; done < operations; done += atOnce) {
    await Promise.all(Array.from({ length: atOnce }, (_, index) => operation(done + index)))
  }
  return Number(process.hrtime.bigint() - start) / 1e3 / operations
}

/**
 * Prints the median time of each candidate, and how many times faster the first one is than each other one.
 * `before` runs before each round and is not counted.
 */
export async function sideBySide(title, candidates, { operations, atOnce = 1, rounds = 7, before = () => {} }) {
  const times = Object.fromEntries(Object.keys(candidates).map((name) => [name, []]))
  for (let index = 0; index < rounds; index++) {
    for (const [name, operation] of Object.entries(candidates)) {
      before()
      times[name].push(await round(operation, operations, atOnce))
    }
  }
  const medians = Object.entries(times).map(([name, values]) => [name, median(values)])
  const [[, first]] = medians
  const line = medians.map(([name, time], index) =>
    `${name} ${time.toFixed(1)} us${index === 0 ? '' : ` (${(time / first).toFixed(1)}x)`}`)
  console.log(`${title.padEnd(38)} ${line.join('   ')}`)
}
