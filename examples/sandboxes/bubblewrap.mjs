// Bubblewrap: `attachment.toBubblewrap()` is a part of its command line.
import { findTool, hostSystem } from './host-system.mjs'

export const name = 'bubblewrap'

export const render = (attachment) => attachment.toBubblewrap()

/** One mount a line. */
export const show = (mounts) => mounts.join(' ').split(/ (?=--(?:ro-)?bind|--perms|--remount-ro)/)

export function command(mounts, script) {
  const root = hostSystem().flatMap(({ path, link }) =>
    link === null ? ['--ro-bind', path, path] : ['--symlink', link, path],
  )
  return {
    file: findTool('bwrap') ?? 'bwrap',
    args: [
      ...['--unshare-all', '--die-with-parent', '--new-session'],
      ...['--cap-drop', 'ALL'], // Started by root, the command would keep them.
      ...[...root, '--proc', '/proc', '--dev', '/dev'],
      ...mounts, // After the root: a later mount covers an earlier one.
      ...['/bin/sh', '-c', script],
    ],
  }
}
