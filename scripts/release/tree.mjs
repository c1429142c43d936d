// Reads what the packages of a release say about themselves, and finds what stands against a release.
import { readFileSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { section } from './changelog.mjs'

const read = (root, file) => readFileSync(path.join(root, file), 'utf8')

/**
 * Returns the packages in the order of their publication, each as `{ name, version, file, manifest }`. The main package
 * is last, because it depends on the others.
 */
export function packagesIn(root) {
  const platforms = readdirSync(path.join(root, 'npm')).sort()
  const files = [...platforms.map((platform) => `npm/${platform}/package.json`), 'package.json']
  return files.map((file) => {
    const manifest = JSON.parse(read(root, file))
    return { name: manifest.name, version: manifest.version, file, manifest }
  })
}

/** Returns the version that a tag names, or `null` if the tag is not `v` and a version. */
export function versionOf(tag) {
  return /^v(\d+\.\d+\.\d+(?:-[0-9A-Za-z]+(?:\.[0-9A-Za-z]+)*)?)$/.exec(tag)?.[1] ?? null
}

/**
 * Returns what stands against a release of the tree in `root` as a version, a sentence each.
 * @param {string | undefined} repository The owner and name of the repository that releases, if it is known.
 */
export function releaseFaults(root, version, repository) {
  return [...repositoryFaults(packagesIn(root), repository), ...changelogFaults(read(root, 'CHANGELOG.md'), version)]
}

/** npm refuses the provenance of a package whose `repository` is not the one that the workflow ran in. */
function repositoryFaults(packages, repository) {
  const wanted = repository === undefined ? urlOf(packages.at(-1)) : `git+https://github.com/${repository}.git`
  return packages
    .filter((each) => wanted === undefined || urlOf(each) !== wanted)
    .map((each) => `${each.file} has the repository "${urlOf(each)}" in place of "${wanted}".`)
}

const urlOf = ({ manifest }) => manifest.repository?.url

function changelogFaults(text, version) {
  const body = section(text, version)
  if (body === null) {
    return [`CHANGELOG.md has no section "## ${version} (<date>)". Rename "## Unreleased".`]
  }
  return body === '' ? [`The section of ${version} in CHANGELOG.md is empty.`] : []
}
