// Makes the release of a tag on GitHub, or gives it the current section of CHANGELOG.md if it exists.
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { section } from './changelog.mjs'
import { fail, readArguments, root } from './cli.mjs'
import { distTag } from './publish-packages.mjs'
import { versionOf } from './tree.mjs'

const usage = 'node scripts/release/github-release.mjs <tag> [--dry-run]'
const { positionals, values } = readArguments(usage, { 'dry-run': { type: 'boolean', default: false } }, 1)
const [tag] = positionals
const version = versionOf(tag)
const body = section(readFileSync(path.join(root, 'CHANGELOG.md'), 'utf8'), version)
if (body === null) {
  fail(`CHANGELOG.md has no section for the tag "${tag}".`)
}

/** Runs GitHub's command line. It takes its token from the environment variable `GH_TOKEN`. */
function gh(args, options) {
  const result = spawnSync('gh', args, { cwd: root, encoding: 'utf8', ...options })
  if (result.error !== undefined) {
    fail(`gh does not start: ${result.error.message}. Install GitHub's command line.`)
  }
  return result
}

const prerelease = distTag(version) === 'latest' ? [] : ['--prerelease']
const create = ['release', 'create', tag, '--verify-tag', '--title', tag, '--notes-file', '-', ...prerelease]
if (values['dry-run']) {
  console.log(`gh ${create.join(' ')}\n\n${body}`)
} else {
  const exists = gh(['release', 'view', tag], { stdio: 'ignore' }).status === 0
  const args = exists ? ['release', 'edit', tag, '--notes-file', '-'] : create
  process.exitCode = gh(args, { input: body, stdio: ['pipe', 'inherit', 'inherit'] }).status ?? 1
}
