// The virtiofs servers of a virtual machine: virtiofsd, which was part of QEMU up to 7.2 and is a separate program
// since.
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { findTool } from './host-system.mjs'

/** The virtiofsd of this machine, or undefined. */
export const program = ['virtiofsd', '../libexec/virtiofsd', '../lib/qemu/virtiofsd'].map(findTool).find((path) => path !== null)

/** Returns why directories cannot be shared here, or null. */
export function unavailable() {
  if (process.getuid() !== 0) {
    return 'virtiofsd is only started by root here'
  }
  if (program === undefined) {
    return 'virtiofsd is not installed'
  }
  const { status, error, stderr } = spawnSync('unshare', ['--mount', 'true'], { encoding: 'utf8' })
  return status === 0 ? null : `unshare makes no mount namespace here: ${error?.message ?? stderr.trim()}`
}

/**
 * Starts the server of one entry of `virtiofs`, in a separate mount namespace. A read-only bind mount and the files
 * of virtiofsd in /run vanish with the namespace.
 */
export async function serve({ source, socket, readonly }) {
  const script = [
    'set -e',
    'mount -t tmpfs tmpfs /run',
    ...(readonly ? ['mount --bind "$1" "$1"', 'mount -o remount,bind,ro "$1"'] : []),
    'exec "$2" --socket-path="$3" -o source="$1"',
  ]
  const args = ['--mount', '/bin/sh', '-c', script.join('\n'), 'sh', source, program, socket]
  const child = spawn('unshare', args, { stdio: ['ignore', 'ignore', 'pipe'] })
  const ended = once(child, 'exit')
  const stop = async () => {
    child.kill('SIGKILL')
    await ended
  }
  const said = []
  for await (const line of createInterface({ input: child.stderr })) {
    said.push(line)
    if (/waiting for vhost-user socket connection/i.test(line)) {
      child.stderr.resume()
      return stop
    }
  }
  await stop()
  return assert.fail(`virtiofsd ended at once: ${said.join('\n')}`)
}
