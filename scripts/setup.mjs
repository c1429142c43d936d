// Installs and builds what the other commands need. On a fresh clone this takes about two minutes, later a second.
import { spawnSync } from 'node:child_process'
import { readFileSync, existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))

function run(step, command, args) {
  console.log(`${step}: ${command} ${args.join(' ')}`)
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit' })
  if (error?.code === 'ENOENT') {
    console.error(`\n${command} was not found. This needs Node.js 20 or later with npm, and a Rust toolchain (cargo).`)
    process.exit(1)
  }
  if (status !== 0) {
    console.error(`\n"${command} ${args.join(' ')}" failed.`)
    process.exit(status ?? 1)
  }
}

/** npm keeps what it installed in a hidden lockfile of the same shape. */
function installed() {
  const hidden = new URL('../node_modules/.package-lock.json', import.meta.url)
  if (!existsSync(hidden)) {
    return false
  }
  const { packages: wanted } = JSON.parse(readFileSync(new URL('../package-lock.json', import.meta.url), 'utf8'))
  const { packages: present } = JSON.parse(readFileSync(hidden, 'utf8'))
  return Object.entries(wanted).every(
    ([name, { version, optional }]) => name === '' || optional || present[name]?.version === version,
  )
}

if (!installed()) {
  run('install', 'npm', ['ci', '--prefer-offline', '--loglevel=error'])
}
run('build', 'npm', ['run', '--silent', 'build'])
