// Packs the packages into dist/.
import { chmodSync, copyFileSync, cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { jsonText, publishedManifest } from './manifest.mjs'
import { fillFolder, output } from './run.mjs'
import { addonFile, addonName, cacheDir, distDir, packageDir, root } from './targets.mjs'

/** Reads the main package.json. */
export const mainManifest = () => JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'))

/** Removes the tarballs of an earlier run, so that a run that fails leaves none that could be published. */
export function removeOld() {
  mkdirSync(distDir, { recursive: true })
  const old = readdirSync(distDir).filter((name) => name.endsWith('.tgz'))
  old.forEach((name) => rmSync(path.join(distDir, name)))
}

/**
 * Packs the main package and those of the targets into dist/. Returns the tarballs.
 *
 * @param {typeof import('./targets.mjs').targets} targets
 * @returns {string[]}
 */
export function packAll(targets) {
  return [pack('main', stageMain), ...targets.map((target) => pack(target.platform, stagePlatform(target)))]
}

/** Fills a folder with the files of a package and packs it. */
function pack(name, stage) {
  const folder = path.join(cacheDir, 'stage', name)
  fillFolder(folder, (temporary) => {
    stage(temporary)
    setModes(temporary)
  })
  const [{ filename }] = npmPack(folder, '--pack-destination', distDir)
  return path.join(distDir, filename)
}

/** Gives all files of a folder the same mode. Tarballs hold it, and it depends on the umask of who copied them. */
function setModes(folder) {
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) chmodSync(path.join(entry.parentPath ?? entry.path, entry.name), 0o644)
  }
}

/** Runs `npm pack` in a folder and returns what it says of the tarball. */
export function npmPack(folder, ...args) {
  const text = output('npm', ['pack', '--json', '--ignore-scripts', '--loglevel=error', ...args], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  if (text === undefined) throw new Error(`"npm pack" failed in ${folder}`)
  return JSON.parse(text)
}

/** Copies the files that the main package.json names, and writes the package.json that is published. */
export function stageMain(folder) {
  const [{ files }] = npmPack(root, '--dry-run')
  for (const { path: name } of files) {
    cpSync(path.join(root, name), path.join(folder, name))
  }
  writeFileSync(path.join(folder, 'package.json'), jsonText(publishedManifest(mainManifest())))
}

/** Returns what copies the files of a platform's package, with the licence of the main one. */
export const stagePlatform = (target, addon = addonFile(target)) => (folder) => {
  const manifest = path.join(packageDir(target), 'package.json')
  const readme = path.join(packageDir(target), 'README.md')
  for (const file of [manifest, readme, path.join(root, 'LICENSE')]) {
    copyFileSync(file, path.join(folder, path.basename(file)))
  }
  copyFileSync(addon, path.join(folder, addonName(target)))
}
