// runc with a root file system that contains only a static busybox.
import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdirSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { whyNot } from '../../examples/sandboxes/choose.mjs'
import { findTool, hostSystem } from '../../examples/sandboxes/host-system.mjs'
import { launch } from '../../examples/sandboxes/launch.mjs'
import * as example from '../../examples/sandboxes/runc.mjs'

export const busybox = findTool('busybox')

export function unavailable() {
  if (busybox === null) {
    return 'runc has no root file system here: busybox is not installed'
  }
  const reason = whyNot({ command: (mounts, script) => command({ toOci: () => mounts }, script) })
  return reason && `runc does not work here with a static busybox: ${reason}`
}

export const render = (attachment) => attachment.toOci({ byPath: true })

/**
 * `adjust` may change the configuration. `hostLibraries` adds what a program of the host needs besides busybox.
 * `prepare` gets the root directory before the container starts.
 */
export const command = (attachment, script, { adjust, hostLibraries = false, prepare } = {}) =>
  example.command(render(attachment), script, {
    makeRoot: (rootfs) => {
      installBusybox(rootfs)
      prepare?.(rootfs)
      const libraries = hostSystem().filter(({ path }) => path !== '/bin' && path !== '/sbin')
      return hostLibraries ? example.showHostSystem(rootfs, libraries) : []
    },
    adjust,
  })

export const run = (attachment, script, options) => launch(command(attachment, script, options))

/** Adds all programs of busybox to a root file system. */
export function installBusybox(rootfs) {
  const bin = join(rootfs, 'bin')
  mkdirSync(bin)
  copyFileSync(busybox, join(bin, 'busybox'))
  const applets = execFileSync(busybox, ['--list'], { encoding: 'utf8' }).trim().split('\n')
  applets.filter((applet) => applet !== 'busybox').forEach((applet) => symlinkSync('busybox', join(bin, applet)))
}
