// Runs the programs of the documentation if the runtimes that they need work. Checks the types of all programs.
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import path from 'node:path'
import * as bubblewrap from '../examples/sandboxes/bubblewrap.mjs'
import { whyNot } from '../examples/sandboxes/choose.mjs'
import { findTool } from '../examples/sandboxes/host-system.mjs'
import { guestKernel, rootFileSystem, unavailable as noQemu } from '../examples/sandboxes/qemu.mjs'
import * as runc from '../examples/sandboxes/runc.mjs'
import { program as virtiofsd, unavailable as noDirectories } from '../examples/sandboxes/virtiofsd.mjs'
import { root } from './support.mjs'

/** The timeout of a program, far longer than it takes on a busy machine. */
const MAX_RUN_MS = 300_000

/** The directory of runc and others on Debian. It is not in the PATH of an ordinary user. */
const ADMINISTRATORS = '/usr/local/sbin:/usr/sbin:/sbin'

const MOUNT = ['--mount', 'mount', '-t', 'tmpfs', 'tmpfs', tmpdir()]

const noBusybox = () => (findTool('busybox') === null ? 'busybox is not installed' : null)

/**
 * The runtimes that a program can need, keyed by the name in `needs=`: why it is unavailable, or null, and the
 * environment that it gets. In CI all but the `optional` ones have to work.
 */
export const RUNTIMES = {
  bwrap: { unavailable: () => whyNot(bubblewrap) },
  runc: { unavailable: () => whyNot(runc) },
  podman: {
    unavailable: () => noBusybox() ?? imageProblem(),
    environment: (directory) => podmanImage(directory),
  },
  docker: {
    optional: true,
    unavailable: () => probe('docker', ['image', 'inspect', 'busybox']),
  },
  qemu: {
    unavailable: noQemu,
    environment: (directory) => guest(directory),
  },
  mount: {
    unavailable: () => (process.getuid() === 0 ? probe('unshare', MOUNT) ?? probe('losetup', ['--find']) : 'only root can mount'),
  },
  virtiofsd: { unavailable: noDirectories, environment: (directory) => virtiofsServer(directory) },
  microsandbox: { optional: true, unavailable: () => 'a microVM boots on few machines, and its image is not here' },
}

/** Returns why a command does not work here, or null. */
function probe(file, args, environment = {}) {
  const { error, status, stderr } = spawnSync(file, args, { encoding: 'utf8', env: { ...process.env, ...environment } })
  if (error) return error.code === 'ENOENT' ? `${file} is not installed` : `${file}: ${error.message}`
  return status === 0 ? null : `${file}: ${stderr.trim().split('\n').at(-1)}`
}

/** Podman with separate storage, whose only image is a busybox, and without features that a host may forbid. */
function podmanImage(directory) {
  const write = (name, text) => writeFileSync(path.join(directory, name), text)
  const runtime = findTool('runc') === null ? '' : 'runtime = "runc"\n'
  const cgroups = process.getuid() === 0 ? 'cgroup_manager = "cgroupfs"\n' : ''
  const limits = '["nofile=1024:1024", "nproc=1024:1024"]'
  write('containers.conf', `[engine]\n${runtime}${cgroups}[containers]\nnetns = "none"\ndefault_ulimits = ${limits}\n`)
  const places = `graphroot = "${directory}/graph"\nrunroot = "${directory}/run"\n`
  write('storage.conf', `[storage]\ndriver = "vfs"\n${places}`)
  const environment = {
    CONTAINERS_CONF: path.join(directory, 'containers.conf'),
    CONTAINERS_STORAGE_CONF: path.join(directory, 'storage.conf'),
  }
  const bin = path.join(directory, 'image/bin')
  mkdirSync(bin, { recursive: true })
  copyFileSync(findTool('busybox'), path.join(bin, 'busybox'))
  for (const applet of ['cat', 'ls', 'sh', 'wc']) symlinkSync('busybox', path.join(bin, applet))
  const archive = path.join(directory, 'image.tar')
  const problem =
    probe('tar', ['-C', path.join(directory, 'image'), '-cf', archive, '.']) ??
    probe('podman', ['import', '--quiet', archive, 'docker.io/library/busybox:latest'], environment)
  if (problem !== null) throw new Error(problem)
  return environment
}

/** Returns why Podman cannot run a container from an image here, or null. */
function imageProblem() {
  return inTemporaryDirectory((directory) => {
    try {
      return probe('podman', ['run', '--rm', 'docker.io/library/busybox', 'cat', '/dev/null'], podmanImage(directory))
    } catch (error) {
      return error.message
    }
  })
}

/** A kernel, and an initial root file system that runs the commands of its console. */
function guest(directory) {
  const initramfs = path.join(directory, 'initramfs')
  const init = 'stty -echo < /dev/console\necho ready > /dev/console\nexec sh /dev/console > /dev/console 2>&1\n'
  writeFileSync(initramfs, rootFileSystem(init))
  return { KERNEL: path.join(guestKernel, 'vmlinuz'), INITRAMFS: initramfs }
}

/** A `virtiofsd` that takes the options of today's, and does what it is asked by the one of this machine. */
function virtiofsServer(directory) {
  const bin = path.join(directory, 'bin')
  mkdirSync(bin)
  const script = `#!/bin/sh
set -e
[ -n "$apart" ] || exec env apart=yes unshare --mount "$0" "$@"
while [ $# -gt 0 ]; do
  case $1 in
    --socket-path) socket=$2; shift 2 ;;
    --shared-dir) source=$2; shift 2 ;;
    --readonly) readonly=yes; shift ;;
    *) exit 2 ;;
  esac
done
mount -t tmpfs tmpfs /run
[ -z "$readonly" ] || { mount --bind "$source" "$source"; mount -o remount,bind,ro "$source"; }
exec ${virtiofsd} --socket-path="$socket" -o source="$source"
`
  writeFileSync(path.join(bin, 'virtiofsd'), script, { mode: 0o755 })
  return { PATH: `${bin}:${process.env.PATH}` }
}

function inTemporaryDirectory(use) {
  const directory = mkdtempSync(path.join(tmpdir(), 'sandbox-volumes-docs-'))
  try {
    return use(directory)
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

const known = new Map()

/** Returns why a program can only be checked here, or null. */
export function whyOnlyChecked({ needs }) {
  const reasons = needs.map((name) => {
    if (!known.has(name)) {
      const reason = RUNTIMES[name] === undefined ? 'it is unknown' : RUNTIMES[name].unavailable()
      known.set(name, reason === null ? null : `${name}: ${reason}`)
    }
    return known.get(name)
  })
  return reasons.find((reason) => reason !== null) ?? null
}

/** Whether a runtime that CI must have is missing. */
export const isOptional = ({ needs }) => needs.some((name) => RUNTIMES[name]?.optional)

/** Makes `directory` a package that depends on this one, like an application. */
export function makeProject(directory) {
  mkdirSync(path.join(directory, 'node_modules'))
  symlinkSync(root, path.join(directory, 'node_modules/sandbox-volumes'))
}

/** Runs a program with a separate home. Returns `{ code, signal, stdout, stderr }`. */
export async function run(program, directory) {
  makeProject(directory)
  const file = path.join(directory, 'program.mjs')
  writeFileSync(file, program.source)
  const [home, tmp] = ['home', 'tmp'].map((name) => path.join(directory, name))
  mkdirSync(tmp)
  chmodSync(directory, 0o755) // The user of a container must be able to enter it.
  const environment = Object.assign({}, ...program.needs.map((name) => RUNTIMES[name].environment?.(directory)))
  // In a separate mount namespace, no mount of the program outlives it.
  const alone = program.needs.includes('mount') ? ['unshare', '--mount', '--propagation', 'private'] : []
  const [command, ...args] = [...alone, process.execPath, file]
  const child = spawn(command, args, {
    cwd: directory,
    detached: true, // In a separate process group, so that its children end with it.
    env: {
      ...process.env,
      NODE_TEST_CONTEXT: undefined,
      ...environment,
      PATH: `${environment.PATH ?? process.env.PATH}:${ADMINISTRATORS}`,
      MSB_HOME: home,
      HOME: directory,
      TMPDIR: tmp,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const killAll = () => killGroup(child.pid)
  const timer = setTimeout(killAll, MAX_RUN_MS)
  child.once('exit', killAll)
  let [stdout, stderr] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (text) => (stdout += text))
  child.stderr.setEncoding('utf8').on('data', (text) => (stderr += text))
  const [code, signal] = await once(child, 'close')
  clearTimeout(timer)
  return { code, signal, stdout, stderr }
}

function killGroup(pid) {
  try {
    process.kill(-pid, 'SIGKILL')
  } catch (error) {
    if (error.code !== 'ESRCH') throw error
  }
}

const OPTIONS = {
  ...JSON.parse(readFileSync(path.join(root, 'tsconfig.json'), 'utf8')).compilerOptions,
  allowJs: true,
  checkJs: true,
  skipLibCheck: true,
  typeRoots: [path.join(root, 'node_modules/@types')],
}

/**
 * Checks the types of all programs. Returns the messages of `tsc`, one line each. JavaScript is not checked with
 * `strict`.
 */
export function checkTypes(programs, directory) {
  makeProject(directory)
  return ['mjs', 'mts'].flatMap((extension) => {
    const options = { ...OPTIONS, strict: extension === 'mts' }
    const chosen = programs.filter((program) => program.extension === extension)
    return chosen.length === 0 ? [] : compile(chosen, options, path.join(directory, `${extension}.json`))
  })
}

/** The TypeScript compiler, or null. */
const tsc = (() => {
  try {
    return path.join(path.dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin/tsc')
  } catch {
    return null
  }
})()

/** Why types cannot be checked here, or false. */
export const withoutTypeScript =
  tsc !== null ? false : process.env.CI === 'true' ? assert.fail('typescript is missing') : 'typescript is missing'

function compile(programs, compilerOptions, project) {
  const directory = path.dirname(project)
  const fileOf = ({ page, line, extension }) => `${page.replace(/[^A-Za-z0-9]/g, '-')}-${line}.${extension}`
  for (const program of programs) writeFileSync(path.join(directory, fileOf(program)), program.source)
  const stubs = path.join(root, '__test__/docs-modules.d.ts')
  writeFileSync(project, JSON.stringify({ compilerOptions, files: [...programs.map(fileOf), stubs] }))
  const args = [tsc, '--project', project, '--pretty', 'false']
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', cwd: directory })
  return status === 0 ? [] : (stdout + stderr).split('\n').filter((text) => text !== '')
}
