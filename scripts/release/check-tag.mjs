// Checks that the tree fits a tag: versions, repository and changelog.
import { outOfStep } from '../package/version.mjs'
import { fail, readArguments, root } from './cli.mjs'
import { packagesIn, releaseFaults, versionOf } from './tree.mjs'

const [tag] = readArguments('node scripts/release/check-tag.mjs <tag>', {}, 1).positionals
const version = versionOf(tag)
if (version === null) {
  fail(`The tag "${tag}" is not "v" and a version, such as "v1.2.3" or "v1.2.3-beta.1".`)
}
const behind = [...outOfStep(version).keys()].map(
  (file) => `${file} is not at ${version}. Run "npm run version -- ${version}".`,
)
// A hosted runner says in which repository it runs. Elsewhere the packages are compared with each other.
const faults = [...behind, ...releaseFaults(root, version, process.env.GITHUB_REPOSITORY)]
if (faults.length > 0) {
  fail(`The tree does not fit the tag ${tag}:`, ...faults.map((fault) => `  ${fault}`))
}
console.log(`The tree fits ${tag}. A release publishes, in this order:`)
for (const { name } of packagesIn(root)) {
  console.log(`  ${name}@${version}`)
}
