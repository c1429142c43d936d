// Runs every benchmark. Each measures its candidates side by side: ratios are comparable between machines, times
// are not.
import { readdirSync } from 'node:fs'

const here = new URL('.', import.meta.url)
for (const name of readdirSync(here).filter((name) => name.endsWith('.bench.mjs'))) {
  console.log(`\n== bench/${name}`)
  await import(new URL(name, here))
}
