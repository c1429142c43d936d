// Runs the Rust suite, then the JavaScript one, then the end-to-end ones in real sandboxes.
import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))

function testFiles(directory) {
  const names = readdirSync(new URL(`../${directory}/`, import.meta.url))
  return names.filter((name) => name.endsWith('.test.mjs')).map((name) => `${directory}/${name}`)
}

const suites = [
  ['Rust', 'cargo', ['test', '--no-default-features', '--no-fail-fast']],
  ['JavaScript', process.execPath, ['--test', ...testFiles('__test__')]],
  ['End to end', process.execPath, ['--test', '--test-concurrency=1', ...testFiles('e2e')]],
]

let failed = false
for (const [name, command, args] of suites) {
  console.log(`\n== ${name}: ${command === process.execPath ? 'node' : command} ${args.join(' ')}`)
  const { status } = spawnSync(command, args, { cwd: root, stdio: 'inherit' })
  failed ||= status !== 0
}
process.exit(failed ? 1 : 0)
