// Prints the section of CHANGELOG.md for a tag: the text of the release on GitHub.
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { section } from './changelog.mjs'
import { fail, readArguments, root } from './cli.mjs'
import { versionOf } from './tree.mjs'

const [tag] = readArguments('node scripts/release/changelog-section.mjs <tag>', {}, 1).positionals
const body = section(readFileSync(path.join(root, 'CHANGELOG.md'), 'utf8'), versionOf(tag))
if (body === null) {
  fail(`CHANGELOG.md has no section for the tag "${tag}".`)
}
console.log(body)
