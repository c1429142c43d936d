// runc: `attachment.toOci()` is a part of its config.json. The same holds for crun and containerd.
import { execFileSync, spawnSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { findTool, hostSystem } from './host-system.mjs'

export const name = 'runc'

export const render = (attachment) => attachment.toOci()

/** One entry of `mounts` a line. */
export const show = (mounts) => mounts.map((mount) => JSON.stringify(mount))

/**
 * `makeRoot` fills the root directory of the container, and returns the mounts that it needs. `adjust` may change
 * the configuration before it is written.
 */
export function command(mounts, script, { makeRoot = showHostSystem, adjust } = {}) {
  const file = findTool('runc') ?? 'runc'
  const bundle = mkdtempSync(join(tmpdir(), 'sandbox-volumes-runc-'))
  const container = `sandbox-volumes-${randomUUID()}`
  const state = ['--root', join(bundle, 'state')]
  const dispose = () => {
    spawnSync(file, [...state, 'delete', '--force', container])
    rmSync(bundle, { recursive: true, force: true })
  }
  try {
    const rootfs = join(bundle, 'rootfs')
    mkdirSync(rootfs)
    const config = template(file, bundle)
    config.process.args = ['/bin/sh', '-c', script]
    config.mounts.push(...makeRoot(rootfs), ...mounts)
    adjust?.(config)
    writeFileSync(join(bundle, 'config.json'), JSON.stringify(config))
  } catch (error) {
    dispose()
    throw error
  }
  return { file, args: [...state, 'run', '--bundle', bundle, container], dispose }
}

/**
 * Returns the template of runc, for root or for an ordinary user, without features that a host may forbid and that
 * are not needed here.
 */
function template(file, bundle) {
  const rootless = process.getuid() === 0 ? [] : ['--rootless']
  execFileSync(file, ['spec', ...rootless], { cwd: bundle })
  const config = JSON.parse(readFileSync(join(bundle, 'config.json'), 'utf8'))
  config.process.terminal = false
  delete config.process.rlimits
  config.mounts = config.mounts.filter(({ type }) => type !== 'cgroup')
  return config
}

/** Adds programs and libraries of the host to the container: creates the links, and returns the mounts to make. */
export function showHostSystem(rootfs, system = hostSystem()) {
  const linked = system.filter(({ link }) => link !== null)
  linked.forEach(({ path, link }) => symlinkSync(link, join(rootfs, path)))
  const bound = system.filter(({ link }) => link === null)
  return bound.map(({ path }) => ({ destination: path, type: 'bind', source: path, options: ['rbind', 'ro'] }))
}
