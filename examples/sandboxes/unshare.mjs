// No sandbox program at hand: util-linux, which every Linux has, makes the namespaces, and `mount` the mounts that
// `attachment.mounts` lists. Good for looking around; for code that you do not trust, use bubblewrap or runc.
import { mkdtempSync, rmdirSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { findTool, hostSystem } from './host-system.mjs'

export const name = 'unshare'

/** Shell commands, run in the directory that becomes the sandbox's root. */
export function render({ mounts }) {
  const readonlyTmpfs = mounts.filter(({ kind, readonly }) => kind === 'tmpfs' && readonly)
  // Only at the end, because the mount points below them have to be made first.
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

/** The kernel takes a bind mount's flags only once it is there. */
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
    // Without capabilities, what runs there can neither undo the mounts nor leave the root.
    'drop="setpriv --no-new-privs --inh-caps=-all --bounding-set=-all"',
    `exec ${findTool('chroot') ?? 'chroot'} . $drop /bin/sh -c "$1"`,
  ]
  const owner = process.getuid() === 0 ? [] : ['--user', '--map-root-user']
  const namespaces = [...owner, '--mount', '--pid', '--fork', '--kill-child', '--net', '--ipc']
  return {
    file: findTool('unshare') ?? 'unshare',
    args: [...namespaces, '/bin/sh', '-c', setup.join('\n'), 'sh', script],
    dispose: () => rmdirSync(root), // Empty: all that was in it was in the sandbox's own mount namespace.
  }
}
