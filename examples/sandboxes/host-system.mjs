import { accessSync, constants, existsSync, lstatSync, readlinkSync } from 'node:fs'
import { delimiter, join } from 'node:path'

/** The directory of runc, chroot and others on Debian. It is not in the PATH of an ordinary user. */
const ADMINISTRATORS = ['/usr/local/sbin', '/usr/sbin', '/sbin']

/** Returns the absolute path of a program, or null if it is not installed. */
export function findTool(name) {
  const directories = [...(process.env.PATH ?? '').split(delimiter), ...ADMINISTRATORS]
  return directories.map((directory) => join(directory, name)).find(isExecutable) ?? null
}

function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/**
 * Returns the directories that programs of the host need: `{ path, link }`. If `/lib` is a link, as on Debian,
 * `link` is its target, and the root of a sandbox gets the same link. The others are bound there read-only.
 */
export function hostSystem() {
  return ['/usr', '/bin', '/sbin', '/lib', '/lib64'].filter(existsSync).map((path) => ({
    path,
    link: lstatSync(path).isSymbolicLink() ? readlinkSync(path) : null,
  }))
}
