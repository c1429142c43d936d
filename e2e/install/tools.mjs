// Installs the tools, each in the version that `tools/*/package.json` names, and finds their programs.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { copyFileSync, existsSync, mkdirSync, readFileSync, realpathSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../..', import.meta.url))
const sources = fileURLToPath(new URL('tools/', import.meta.url))
const cache = path.join(root, 'e2e', '.cache', 'install')

/** The versions of Node.js that the table has. */
export const NODES = [20, 22, 24]

/** The names that Bun has for architectures. */
const BUN_ARCHS = { x64: 'x64', arm64: 'aarch64' }

const json = (file) => JSON.parse(readFileSync(file, 'utf8'))

/** Returns the versions that the sets of tools name, keyed by tool. A Node.js is `node-20`. */
export function pinnedVersions() {
  const sets = ['full', 'next'].map((set) => json(path.join(sources, set, 'package.json')))
  const all = sets.flatMap(({ dependencies, optionalDependencies = {} }) => [
    ...Object.entries(dependencies),
    ...Object.entries(optionalDependencies),
  ])
  const toolOf = (name) => name.replace(/^(node-\d+)-.*/, '$1')
  const pinned = all.map(([name, version]) => [toolOf(name), version.split('@').at(-1)])
  const { packages } = json(path.join(root, 'package-lock.json'))
  return Object.fromEntries([...pinned, ['typescript', packages['node_modules/typescript'].version]])
}

/**
 * Installs a set of tools into the cache, unless it is there, by the user's own npm. Not by `npm ci`: it refuses a lock
 * file that lacks an optional package, and npm leaves those out of it that the registry does not have.
 */
function install(set) {
  const directory = path.join(cache, set)
  const files = ['package.json', 'package-lock.json'].map((name) => path.join(sources, set, name))
  const hash = createHash('sha256').update(process.arch)
  files.forEach((file) => hash.update(readFileSync(file)))
  const stamp = path.join(directory, 'installed')
  const wanted = hash.digest('hex')
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) {
    return directory
  }
  console.log(`tools: installing the set "${set}" into ${path.relative(root, directory)}`)
  mkdirSync(directory, { recursive: true })
  files.forEach((file) => copyFileSync(file, path.join(directory, path.basename(file))))
  const options = ['--no-save', '--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund', '--loglevel=error']
  const { status, error } = spawnSync('npm', ['install', ...options], { cwd: directory, stdio: 'inherit' })
  if (status !== 0) {
    throw new Error(`npm could not install the tools: ${error?.message ?? `it ended with ${status}`}`)
  }
  writeFileSync(stamp, wanted)
  return directory
}

/** Returns the script of the npm that started this, or of the first one in the PATH. */
function ownNpm() {
  const candidates = process.env.PATH.split(':').map((directory) => path.join(directory, 'npm'))
  return process.env.npm_execpath ?? realpathSync(candidates.find(existsSync))
}

/** Installs all tools, or with `quick` none: then the checkout's own are used. Returns where their programs are. */
export function installTools({ quick }) {
  const directories = [...(quick ? [] : ['full', 'next'].map(install)), root]
  const directoryOf = (name) => {
    const found = directories.map((each) => path.join(each, 'node_modules', name)).find((each) => existsSync(each))
    if (found === undefined) {
      throw new Error(`the tool "${name}" is not installed`)
    }
    return found
  }
  /** Returns the script of a package that Node.js runs. */
  const script = (name, program = name) => {
    const directory = directoryOf(name)
    const { bin } = json(path.join(directory, 'package.json'))
    return path.join(directory, typeof bin === 'string' ? bin : (bin[program] ?? Object.values(bin)[0]))
  }
  return {
    directoryOf,
    script,
    /** Returns the directory of a set, of which "checkout" is this checkout. */
    set: (name) => (name === 'checkout' ? root : path.join(cache, name)),
    node(major) {
      return quick ? process.execPath : path.join(directoryOf(`node-${major}-${process.arch}`), 'bin', 'node')
    },
    npm: () => (quick ? ownNpm() : script('npm')),
    // These are programs, which the scripts of their packages would fetch.
    pnpm12: () => path.join(directoryOf(`@pnpm/exe.linux-${process.arch}`), 'pnpm'),
    bun: () => path.join(directoryOf(`@oven/bun-linux-${BUN_ARCHS[process.arch]}`), 'bin', 'bun'),
    deno: () => path.join(directoryOf(`@deno/linux-${process.arch}-glibc`), 'deno'),
  }
}
