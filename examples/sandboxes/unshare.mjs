// Without a sandbox program: util-linux, which every Linux has, creates the namespaces, and `mount` the mounts of
// `attachment.mounts`. Use it to explore. For untrusted code, use bubblewrap or runc.
import { mkdtempSync, rmdirSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { findTool, hostSystem } from './host-system.mjs'

export const name = 'unshare'

/** Shell commands, run in the directory that becomes the root of the sandbox. */
export function render({ mounts }) {
  const readonlyTmpfs = mounts.filter(({ kind, readonly }) => kind === 'tmpfs' && readonly)
  // Only at the end, because the mount points below them must be created first.
  const sealed = readonlyTmpfs.map((mount) => remount(mount.guestPath, ['ro', ...flagsOf(mount)]))
  return [...mounts.flatMap(makeMount), ...sealed.reverse()]
}

export const show = (mounts) => mounts.filter((line) => line.startsWith('mount'))

function makeMount(mount) {
  const { guestPath, kind, hostPath, sizeMib, readonly } = mount
  if (kind !== 'tmpfs') {
    return bind(hostPath, guestPath, [...(readonly ? ['ro'] : []), ...flagsOf(mount)])
  }
  const options = ['mode=1777', ...(sizeMib === null ? [] : [`size=${sizeMib}m`]), ...flagsOf(mount)]
  return [`mkdir -p ${inRoot(guestPath)}`, `mount -t tmpfs -o ${options.join()} tmpfs ${inRoot(guestPath)}`]
}

const flagsOf = (mount) => ['nosuid', 'nodev', 'noexec'].filter((flag) => mount[flag])

/** The kernel accepts the flags of a bind mount only after the bind. */
function bind(hostPath, guestPath, flags) {
  const target = inRoot(guestPath)
  return [
    ...(statSync(hostPath).isDirectory()
      ? [`mkdir -p ${target}`]
      : [`mkdir -p ${inRoot(dirname(guestPath))}`, `touch ${target}`]),
    `mount --bind ${quote(hostPath)} ${target}`,
    ...(flags.length === 0 ? [] : [remount(guestPath, flags)]),
  ]
}

const remount = (guestPath, flags) => `mount -o remount,bind,${flags.join()} ${inRoot(guestPath)}`

const inRoot = (guestPath) => quote(`.${guestPath}`)

const quote = (text) => (/^[\w./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`)

export function command(mounts, script) {
  const root = mkdtempSync(join(tmpdir(), 'sandbox-volumes-root-'))
  const system = hostSystem().flatMap(({ path, link }) =>
    link === null ? bind(path, path, ['ro']) : [`ln -s ${quote(link)} ${inRoot(path)}`],
  )
  const setup = [
    'set -e',
    `mount -t tmpfs tmpfs ${quote(root)}`,
    `cd ${quote(root)}`,
    ...[...system, ...bind('/dev/null', '/dev/null', []), ...bind('/dev/zero', '/dev/zero', [])],
    ...mounts,
    // Without capabilities, the command can neither undo the mounts nor leave the root.
    'drop="setpriv --no-new-privs --inh-caps=-all --bounding-set=-all"',
    `exec ${findTool('chroot') ?? 'chroot'} . $drop /bin/sh -c "$1"`,
  ]
  const owner = process.getuid() === 0 ? [] : ['--user', '--map-root-user']
  const namespaces = [...owner, '--mount', '--pid', '--fork', '--kill-child', '--net', '--ipc']
  return {
    file: findTool('unshare') ?? 'unshare',
    args: [...namespaces, '/bin/sh', '-c', setup.join('\n'), 'sh', script],
    dispose: () => rmdirSync(root), // Empty: its content was only in the mount namespace of the sandbox.
  }
}
