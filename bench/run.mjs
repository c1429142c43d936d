// Runs every benchmark, each side by side with what it is compared with. Ratios hold from machine to machine, times do not.
import { readdirSync } from 'node:fs'

const here = new URL('.', import.meta.url)
for (const name of readdirSync(here).filter((name) => name.endsWith('.bench.mjs'))) {
  console.log(`\n== bench/${name}`)
  await import(new URL(name, here))
}
