// Gives all packages one version: "npm run version -- 0.2.0". Without an argument, takes the one of package.json.
// Also writes the manifests and READMEs of the platforms.
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { jsonText, platformManifest, platformReadme } from './manifest.mjs'
import { packageDir, root, targets } from './targets.mjs'

/** A version that both npm and cargo take. */
const VERSION = /^\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?$/

/** Replaces the one match of a pattern, which has what is before the version in a group. */
function replaceOnce(text, pattern, version) {
  const matches = [...text.matchAll(new RegExp(pattern, 'gm'))]
  if (matches.length !== 1) throw new Error(`Found ${matches.length} matches of ${pattern}, expected one`)
  return text.replace(new RegExp(pattern, 'm'), (_match, before) => `${before}"${version}"`)
}

const inCargoLock = (text, version) => replaceOnce(text, '^(name = "sandbox-volumes"\nversion = )".*"$', version)

/** Each file that has the version, and what its text becomes. */
const FILES = {
  'package.json': (text, version) => jsonText({ ...JSON.parse(text), version }),
  'package-lock.json': (text, version) => {
    const lock = JSON.parse(text)
    lock.version = version
    lock.packages[''].version = version
    return jsonText(lock)
  },
  'Cargo.toml': (text, version) => replaceOnce(text, '^(name = "sandbox-volumes"\nversion = )".*"$', version),
  'Cargo.lock': inCargoLock,
  'fuzz/Cargo.lock': inCargoLock,
}

/**
 * Returns the files that are not in step with a version, and the text that each should have.
 *
 * @param {string} version
 * @returns {Map<string, string>} By path in the checkout.
 */
export function outOfStep(version) {
  if (!VERSION.test(version)) throw new Error(`"${version}" is not a version such as 1.2.3 or 1.2.3-beta.1`)
  const read = (name) => readFileSync(path.join(root, name), 'utf8')
  const wanted = new Map(Object.entries(FILES).map(([name, change]) => [name, change(read(name), version)]))
  const main = JSON.parse(wanted.get('package.json'))
  for (const target of targets) {
    const folder = path.relative(root, packageDir(target))
    wanted.set(path.join(folder, 'package.json'), jsonText(platformManifest(main, target)))
    wanted.set(path.join(folder, 'README.md'), platformReadme(target))
  }
  return new Map([...wanted].filter(([name, text]) => read(name) !== text))
}

function main([version = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')).version]) {
  const changes = outOfStep(version)
  for (const [name, text] of changes) {
    writeFileSync(path.join(root, name), text)
    console.log(`Wrote ${name}`)
  }
  console.log(changes.size === 0 ? `All files are at ${version}` : `All files are at ${version} now`)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    main(process.argv.slice(2))
  } catch (error) {
    console.error(error.message)
    process.exitCode = 1
  }
}
