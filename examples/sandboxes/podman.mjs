// Podman: `attachment.toDocker({ engine: 'podman' })` is a part of its command line. `toDocker()` is a part of
// Docker's.
import { spawnSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { findTool, hostSystem } from './host-system.mjs'

export const name = 'podman'

export const render = (attachment) => attachment.toDocker({ engine: 'podman' })

/** One mount a line. */
export const show = (mounts) => mounts.join(' ').split(/ (?=--(?:mount|tmpfs) )/)

/**
 * `makeRoot` fills the root directory of the container, and returns arguments for it. `extra` arguments follow the
 * mounts.
 */
export function command(mounts, script, { makeRoot = showHostSystem, extra = [] } = {}) {
  const file = findTool('podman') ?? 'podman'
  const rootfs = mkdtempSync(join(tmpdir(), 'sandbox-volumes-podman-'))
  const container = `sandbox-volumes-${randomUUID()}`
  const dispose = () => {
    spawnSync(file, [...engine(), 'rm', '--force', '--ignore', '--time', '0', container])
    rmSync(rootfs, { recursive: true, force: true })
  }
  try {
    chmodSync(rootfs, 0o755) // Any user of the container must be able to enter it.
    // The directories that Podman would otherwise create there.
    ;['dev', 'etc', 'proc', 'run', 'sys', 'tmp'].forEach((directory) => mkdirSync(join(rootfs, directory)))
    const root = makeRoot(rootfs)
    return {
      file,
      args: [
        ...[...engine(), 'run', '--rm', '--interactive', '--name', container],
        ...['--network', 'none', '--cap-drop', 'all', '--security-opt', 'no-new-privileges'],
        // Features that a host may forbid and that are not needed here.
        ...['--ulimit', 'nofile=1024:1024', '--ulimit', 'nproc=1024:1024'],
        ...[...root, ...mounts, ...extra],
        ...['--rootfs', rootfs, '/bin/sh', '-c', script],
      ],
      dispose,
    }
  } catch (error) {
    dispose()
    throw error
  }
}

/** crun, which Podman prefers, does not run on every host, and root may have no systemd. */
function engine() {
  const root = process.getuid() === 0 ? ['--cgroup-manager', 'cgroupfs'] : []
  return [...(findTool('runc') === null ? [] : ['--runtime', 'runc']), ...root]
}

/** Adds programs and libraries of the host to the container: creates the links, and returns the mounts to make. */
function showHostSystem(rootfs) {
  const system = hostSystem()
  system.filter(({ link }) => link !== null).forEach(({ path, link }) => symlinkSync(link, join(rootfs, path)))
  const bound = system.filter(({ link }) => link === null)
  return bound.flatMap(({ path }) => ['--mount', `type=bind,source=${path},destination=${path},readonly`])
}
