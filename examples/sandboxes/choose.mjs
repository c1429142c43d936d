import * as bubblewrap from './bubblewrap.mjs'
import { launch } from './launch.mjs'
import * as podman from './podman.mjs'
import * as runc from './runc.mjs'
import * as unshare from './unshare.mjs'

export const SANDBOXES = [bubblewrap, runc, podman, unshare]

export const names = [...SANDBOXES.map(({ name }) => name), 'none']

/** Returns why a sandbox does not work here, or null. It is tried, because an installed one may not work. */
export function whyNot(sandbox) {
  try {
    const { status, stderr } = launch(sandbox.command([], 'exit 0'))
    return status === 0 ? null : stderr.trim() || `it ended with status ${status}`
  } catch (error) {
    return error.code === 'ENOENT' ? `it is not installed (${error.path})` : error.message
  }
}

/** Returns the requested sandbox, else the first that works here. Returns null for `none`, or if none works. */
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
