// The tarballs that are published: those of `npm run package`, or with `--checkout` the addon of `npm run build`.
import { spawnSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync } from 'node:fs'
import path from 'node:path'
import { mainManifest, npmPack, stageMain, stagePlatform } from '../../scripts/package/pack.mjs'
import { addonName, distDir, packageDir, packageName, root, targets } from '../../scripts/package/targets.mjs'

const { version } = mainManifest()

/** The target of this machine. The tests of this folder run on glibc. */
export const ownTarget = targets.find(({ cpu, libc }) => cpu === process.arch && libc === 'glibc')

/** Builds the package of this machine's platform, and packs it and the main package into `dist`. */
export function build() {
  const args = ['run', '--silent', 'package', '--', '--only', ownTarget.platform]
  const { status } = spawnSync('npm', args, { cwd: root, stdio: 'inherit' })
  if (status !== 0) {
    throw new Error('"npm run package" failed')
  }
}

/** Returns the tarballs of `dist` or of the checkout, packed below `directory`. The main package is the last. */
export function tarballs({ checkout, directory }) {
  const pack = (name, stage) => {
    const folder = path.join(directory, name)
    mkdirSync(folder, { recursive: true })
    stage(folder)
    const [{ filename }] = npmPack(folder, '--pack-destination', directory)
    return path.join(directory, filename)
  }
  const fromCheckout = (target) => stagePlatform(target, path.join(root, addonName(target)))
  const packages = [
    ...targets.map((target) => [packageName(target), target === ownTarget, target]),
    [mainManifest().name, true, null],
  ]
  return packages.map(([name, needed, target]) => {
    const file = path.join(distDir, `${name}-${version}.tgz`)
    if (!checkout && existsSync(file)) {
      return file
    }
    if (!checkout && needed) {
      throw new Error(`"${file}" does not exist. "npm run package" makes it.`)
    }
    return pack(name, !needed ? stageMetadata(target) : target === null ? stageMain : fromCheckout(target))
  })
}

/**
 * Copies the metadata of a platform's package alone. A package manager asks for each optional dependency, and then
 * installs the one that fits the machine.
 */
const stageMetadata = (target) => (folder) => {
  for (const file of ['package.json', 'README.md']) {
    copyFileSync(path.join(packageDir(target), file), path.join(folder, file))
  }
}
