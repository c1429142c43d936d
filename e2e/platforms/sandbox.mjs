// Runs a program in the root of a platform, by bubblewrap. When it ends, nothing of it is mounted or running.
import { spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'

/** An ELF header of a program or shared object for arm64, and the bits of it that count. */
const ARM64_HEADER = [0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0xb7, 0]
const ARM64_MASK = ARM64_HEADER.map((_, at) => (at === 7 ? 0 : at === 16 ? 0xfe : 0xff))
const escaped = (bytes) => bytes.map((byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('')
const ARM64_PROGRAMS = `:arm64:M::${escaped(ARM64_HEADER)}:${escaped(ARM64_MASK)}`

/**
 * Registers the emulator for programs of arm64, for the programs of one user namespace only (Linux 6.7). The kernel
 * keeps the emulator open, so that it need not be in the root.
 */
const WITH_EMULATOR = `set -e
mount -t binfmt_misc binfmt_misc "$1"
printf '%s' "${ARM64_PROGRAMS}:$2:F" > "$1/register"
shift 2
exec "$@"`

/**
 * Mounts all of procfs. bwrap's `--proc` hides parts of it from root, and then Linux lets no sandbox within this one
 * mount it.
 */
const WITH_PROC = 'mount -t proc -o nosuid,nodev,noexec proc /proc && exec "$@"'

const ENVIRONMENT = {
  HOME: '/tmp/home',
  LANG: 'C.UTF-8',
  PATH: '/opt/node/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  TMPDIR: '/tmp',
}

/**
 * Returns the command that runs a program in `root`, with Node.js from `node`, the installed package from `app`,
 * temporary files in `tmp`, and `results` to write to.
 */
export function command({ root, node, app, tmp, results, binfmt, emulator }, program, environment = {}) {
  const bwrap = [
    'bwrap',
    ...['--die-with-parent', '--unshare-pid', '--unshare-ipc', '--unshare-uts'],
    ...['--ro-bind', root, '/', '--ro-bind', node, '/opt/node'],
    ...['--dev-bind', '/dev', '/dev', '--ro-bind', '/sys', '/sys'],
    ...['--bind', app, '/app', '--bind', tmp, '/tmp', '--bind', results, '/results', '--chdir', '/app'],
    '--clearenv',
    ...Object.entries({ ...ENVIRONMENT, ...environment }).flatMap(([name, value]) => ['--setenv', name, value]),
  ]
  if (emulator === null && process.getuid() === 0) return [...bwrap, '--', 'sh', '-c', WITH_PROC, 'sh', ...program]
  bwrap.push('--proc', '/proc')
  if (emulator === null) return [...bwrap, '--', ...program]
  const namespace = ['unshare', '--user', '--map-root-user', '--mount', '--propagation', 'private']
  const registered = [...namespace, 'sh', '-c', WITH_EMULATOR, 'sh', binfmt, emulator]
  return [...registered, ...bwrap, '--dev-bind', binfmt, '/run/binfmt', '--', ...program]
}

/**
 * Runs a command, whose output goes to the file `log`. Returns its status, the signal that ended it, or the code of
 * the error for which it did not start. Ends it when `signal` aborts.
 */
export async function run([file, ...args], { signal, timeout, log }) {
  const to = openSync(log, 'w')
  try {
    const child = spawn(file, args, { stdio: ['ignore', to, to], signal, timeout, killSignal: 'SIGKILL' })
    let failure = null
    child.on('error', (error) => (failure = error.code))
    const [code, by] = await new Promise((resolve) => child.on('close', (...how) => resolve(how)))
    return failure ?? by ?? code
  } finally {
    closeSync(to)
  }
}
