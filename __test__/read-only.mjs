// Runs faulty code where it can write to one directory only. That protects the machine from it.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, rmdirSync } from 'node:fs'
import { homedir } from 'node:os'
import path from 'node:path'
import { root } from './support.mjs'

/**
 * Returns the command that runs a program in a mount namespace in which only `dir` can be written. Other processes
 * are not in its `/proc`, through which their mounts could be reached, and it may not mount.
 */
export const onlyWriting = (dir) => [
  'bwrap',
  ...['--ro-bind', '/', '/', '--unshare-pid', '--proc', '/proc', '--dev', '/dev', '--bind', dir, dir],
  ...['--remount-ro', '/dev', '--remount-ro', '/proc', '--cap-drop', 'CAP_SYS_ADMIN', '--die-with-parent', '--'],
]

/** Set where faulty code may run: the directory that it may write to. */
export const ONLY_WRITABLE = 'SANDBOX_VOLUMES_ONLY_WRITABLE'

/** Why no program can be run there, or false. A program that runs there cannot start another one in the same way. */
export const withoutReadOnly = (() => {
  if (process.env[ONLY_WRITABLE]) return false
  const [command, ...args] = onlyWriting(root)
  if (spawnSync(command, [...args, 'true']).status === 0) return false
  const reason = 'bwrap (bubblewrap) is missing, or user namespaces'
  return process.env.CI === 'true' ? assert.fail(reason) : reason
})()

/** Directories that faulty code may not write to, as far as this user can reach them. */
export const PROTECTED = ['/', '/etc', '/tmp', '/dev', '/dev/shm', '/proc/1/root', homedir(), root].filter((each) =>
  existsSync(`${each}/.`),
)

/** Throws unless this process can write to one directory only. Whatever is faulty calls it first. */
export function assertReadOnly() {
  const dir = process.env[ONLY_WRITABLE]
  assert.ok(dir, 'faulty code runs in a read-only namespace only')
  const make = (parent) => {
    const made = path.join(parent, `faulty-code-may-write-here-${process.pid}`)
    mkdirSync(made)
    rmdirSync(made)
  }
  make(dir)
  for (const parent of [...PROTECTED, path.dirname(dir)]) {
    assert.throws(() => make(parent), { code: 'EROFS' }, `"${parent}" can be written`)
  }
}
