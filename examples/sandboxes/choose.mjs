import * as bubblewrap from './bubblewrap.mjs'
import { launch } from './launch.mjs'
import * as podman from './podman.mjs'
import * as runc from './runc.mjs'
import * as unshare from './unshare.mjs'

export const SANDBOXES = [bubblewrap, runc, podman, unshare]

export const names = [...SANDBOXES.map(({ name }) => name), 'none']

/** Why a sandbox cannot be had here, or null where it can: it is tried, for being installed says little. */
export function whyNot(sandbox) {
  try {
    const { status, stderr } = launch(sandbox.command([], 'exit 0'))
    return status === 0 ? null : stderr.trim() || `it ended with status ${status}`
  } catch (error) {
    return error.code === 'ENOENT' ? `it is not installed (${error.path})` : error.message
  }
}

/** The sandbox asked for, else the first that works here; null for `none`, or where none does. */
export function choose(wanted) {
  if (wanted !== undefined && !names.includes(wanted)) {
    throw new Error(`There is no runtime "${wanted}"; choose one of: ${names.join(', ')}`)
  }
  if (wanted === undefined) {
    return process.platform === 'linux' ? (SANDBOXES.find((sandbox) => whyNot(sandbox) === null) ?? null) : null
  }
  const sandbox = SANDBOXES.find(({ name }) => name === wanted) ?? null
  const reason = sandbox && whyNot(sandbox)
  if (reason) {
    throw new Error(`${wanted} does not work here: ${reason}`)
  }
  return sandbox
}
