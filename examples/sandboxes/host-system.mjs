import { accessSync, constants, existsSync, lstatSync, readlinkSync } from 'node:fs'
import { delimiter, join } from 'node:path'

/** Where Debian keeps runc, chroot and others; it is not in an ordinary user's PATH. */
const ADMINISTRATORS = ['/usr/local/sbin', '/usr/sbin', '/sbin']

/** A program's absolute path, or null where it is not installed. */
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
 * The directories that the host's programs need: `{ path, link }`. Where `/lib` is a link, as on Debian, `link`
 * is what it points to, and a sandbox's root gets the same link; the others are bound there read-only.
 */
export function hostSystem() {
  return ['/usr', '/bin', '/sbin', '/lib', '/lib64'].filter(existsSync).map((path) => ({
    path,
    link: lstatSync(path).isSymbolicLink() ? readlinkSync(path) : null,
  }))
}
