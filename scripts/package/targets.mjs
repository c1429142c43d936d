// The platforms that have a package, and where their files are.
import path from 'node:path'
import { fileURLToPath } from 'node:url'

/** The checkout. */
export const root = fileURLToPath(new URL('../..', import.meta.url))
/** Tools and builds. Removing it is safe: the next run fetches and builds again. */
export const cacheDir = path.join(root, '.cache', 'package')
/** The packed tarballs. */
export const distDir = path.join(root, 'dist')

/** The oldest glibc that the addons load with. Node.js 20 itself needs this version. */
export const GLIBC_FLOOR = '2.28'

/**
 * Each target: its name in packages and files, the name that Rust has for it, and the fields that npm compares with
 * the machine. The checks read `machine` and `libc`.
 */
export const targets = [
  target('linux-x64-gnu', 'x86_64-unknown-linux-gnu', 'x64', 'glibc'),
  target('linux-arm64-gnu', 'aarch64-unknown-linux-gnu', 'arm64', 'glibc'),
  target('linux-x64-musl', 'x86_64-unknown-linux-musl', 'x64', 'musl'),
  target('linux-arm64-musl', 'aarch64-unknown-linux-musl', 'arm64', 'musl'),
]

function target(platform, triple, cpu, libc) {
  return { platform, triple, machine: triple.split('-')[0], cpu, libc }
}

/** The name of a target's package. */
export const packageName = ({ platform }) => `sandbox-volumes-${platform}`

/** The name of a target's addon, in its package and beside `index.js`. */
export const addonName = ({ platform }) => `sandbox-volumes.${platform}.node`

/** The folder of a target's package. */
export const packageDir = ({ platform }) => path.join(root, 'npm', platform)

/** Where a target's addon is put when it is built. */
export const addonFile = (target) => path.join(packageDir(target), addonName(target))

/**
 * Returns the targets of these platforms, or all if there are none.
 *
 * @param {string[]} [platforms]
 */
export function selectTargets(platforms = []) {
  const known = targets.map(({ platform }) => platform)
  const unknown = platforms.filter((platform) => !known.includes(platform))
  if (unknown.length > 0) {
    throw new Error(`No package for "${unknown.join('", "')}". There are: ${known.join(', ')}`)
  }
  return platforms.length === 0 ? targets : targets.filter(({ platform }) => platforms.includes(platform))
}
