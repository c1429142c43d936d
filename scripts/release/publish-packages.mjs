// Publishes the packed packages of a release with npm, and goes on where an earlier run stopped.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { packagesIn } from './tree.mjs'

/** npm's first version that publishes by OpenID Connect, without a token. */
const MIN_NPM = [11, 5, 1]
const POLL_MS = 5_000

/** A release that cannot go on. Its message says why, and what to do. */
export class ReleaseError extends Error {}

/**
 * Returns the packages of a release with their tarballs, in the order of their publication.
 * @param {string} root The root of the project.
 * @param {string} dist The directory of the tarballs.
 */
export function packedPackages(root, dist) {
  const packages = packagesIn(root).map(({ name, version }) =>
    packed(name, version, path.join(dist, `${name}-${version}.tgz`)),
  )
  const main = packages.at(-1)
  const wanted = packages.slice(0, -1).map(({ name, version }) => `${name}@${version}`)
  const found = Object.entries(main.manifest.optionalDependencies ?? {}).map(([name, version]) => `${name}@${version}`)
  if (wanted.sort().join() !== found.sort().join()) {
    throw new ReleaseError(
      `${main.tarball} depends on ${found.join(', ') || 'nothing'}, and not on ${wanted.join(', ')}.`,
    )
  }
  return packages
}

/** Returns a tarball with what npm will know of it. Throws if it is missing or has another package. */
function packed(name, version, tarball) {
  if (!existsSync(tarball)) {
    throw new ReleaseError(`${tarball} is missing. Run "npm run package", or download what a workflow run packed.`)
  }
  const manifest = manifestIn(tarball)
  if (manifest.name !== name || manifest.version !== version) {
    throw new ReleaseError(`${tarball} has ${manifest.name}@${manifest.version}, and not ${name}@${version}.`)
  }
  const integrity = `sha512-${createHash('sha512').update(readFileSync(tarball)).digest('base64')}`
  return { name, version, manifest, tarball, integrity }
}

/** Returns `package.json` of a tarball. */
function manifestIn(tarball) {
  const { status, stdout, stderr } = spawnSync('tar', ['-xzOf', tarball, 'package/package.json'], { encoding: 'utf8' })
  if (status !== 0) {
    throw new ReleaseError(`${tarball} is not a package: ${stderr.trim()}`)
  }
  return JSON.parse(stdout)
}

/** Runs npm, which takes its registry and its rights from its own configuration. */
function npm(args, stdio = ['ignore', 'pipe', 'pipe']) {
  const result = spawnSync('npm', args, { encoding: 'utf8', stdio })
  if (result.error !== undefined) {
    throw new ReleaseError(`npm does not start: ${result.error.message}`)
  }
  return result
}

/** Asserts that npm can publish with provenance and without a token. */
export function assertNpm(version = npm(['--version']).stdout.trim()) {
  const parts = version.split(/[.-]/).map(Number)
  const at = MIN_NPM.findIndex((least, at) => parts[at] !== least)
  if (at !== -1 && parts[at] < MIN_NPM[at]) {
    throw new ReleaseError(`npm ${version} is too old for trusted publishing: install ${MIN_NPM.join('.')} or later.`)
  }
}

/** Returns the integrity of a published version, or `null` if the registry does not have it. */
function publishedIntegrity({ name, version }, registry) {
  const args = ['view', `${name}@${version}`, 'dist.integrity', '--json', '--prefer-online', ...registry]
  const { status, stdout, stderr } = npm(args)
  const answer = stdout.trim() === '' ? null : JSON.parse(stdout)
  if (status === 0) {
    return answer
  }
  if (answer?.error?.code === 'E404') {
    return null
  }
  throw new ReleaseError(`npm cannot ask the registry for ${name}@${version}:\n${stderr.trim()}`)
}

/** Returns whether a version is published. Throws if it is, with other bytes than its tarball has. */
function isPublished(each, registry) {
  const published = publishedIntegrity(each, registry)
  if (published !== null && published !== each.integrity) {
    throw new ReleaseError(
      `The registry has ${each.name}@${each.version} with ${published}, and ${each.tarball} is ${each.integrity}. ` +
        'A published version cannot be replaced: release the next version.',
    )
  }
  return published !== null
}

/** Waits until the registry shows versions. It may do so a while after it took them. */
async function waitForAll(packages, { registry, waitSeconds, log }) {
  const end = Date.now() + waitSeconds * 1_000
  let pending = packages
  for (;;) {
    pending = pending.filter((each) => !isPublished(each, registry))
    if (pending.length === 0) {
      return
    }
    const names = pending.map(({ name }) => name).join(', ')
    if (Date.now() >= end) {
      throw new ReleaseError(
        `The registry does not show ${names} after ${waitSeconds} seconds. Start this command again.`,
      )
    }
    log(`waiting for the registry to show ${names}`)
    await delay(POLL_MS)
  }
}

/**
 * Publishes what the registry does not have: the platform packages, then the main package.
 * @param {ReturnType<typeof packedPackages>} packages
 * @param {object} options
 * @param {boolean} options.dryRun Publishes nothing, and has npm check each tarball.
 * @param {boolean} options.provenance Has npm sign where and from which commit the packages were built.
 * @param {string} [options.registry] The address of a registry. Default: npm's configuration.
 * @param {number} options.waitSeconds How long the registry may take to show what it took.
 * @param {(line: string) => void} options.log
 */
export async function publishPackages(packages, options) {
  const registry = options.registry === undefined ? [] : ['--registry', options.registry]
  const { log, dryRun, waitSeconds } = options
  // All are compared before one is published, so that a conflict leaves the registry as it is.
  const states = packages.map((each) => ({ each, published: isPublished(each, registry) }))
  for (const { each, published } of states) {
    log(`${each.name}@${each.version}: ${published ? 'is published already' : 'is to be published'}`)
  }
  const missing = states.filter(({ published }) => !published).map(({ each }) => each)
  const main = packages.at(-1)
  const flags = ['--ignore-scripts', '--access', 'public', '--tag', distTag(main.version), ...registry]
  if (dryRun) flags.push('--dry-run')
  if (options.provenance) flags.push('--provenance')
  for (const part of [missing.filter((each) => each !== main), missing.filter((each) => each === main)]) {
    for (const each of part) {
      publishOne(each, flags, registry)
    }
    if (!dryRun) {
      await waitForAll(part, { registry, waitSeconds, log })
    }
  }
  log(dryRun ? 'This was a dry run: nothing is published.' : `${main.name}@${main.version} is published.`)
}

/** Returns the tag under which npm installs a version: `next` for a version before a release. */
export const distTag = (version) => (version.includes('-') ? 'next' : 'latest')

function publishOne(each, flags, registry) {
  const { status } = npm(['publish', each.tarball, ...flags], ['ignore', 'inherit', 'inherit'])
  // An earlier run may have published it a moment ago, and the registry refuses to do it twice.
  if (status !== 0 && !isPublished(each, registry)) {
    throw new ReleaseError(`npm did not publish ${each.name}@${each.version}. What was published stays: start again.`)
  }
}
