// Packages of Debian for a root, from the archive that this machine's apt uses. The lock file pins each by its
// checksum; `resolve` writes the lock file from indexes whose signatures apt verifies.
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'

const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg'

/** Packages are fetched in groups of this size, so that progress shows and an interrupted run keeps what it has. */
const FETCHED_AT_ONCE = 20

function run(command, args, options) {
  return execFileSync(command, args, { encoding: 'utf8', maxBuffer: 2 ** 26, ...options })
}

/** Returns the address of the archive, which ends with a slash. */
function archive() {
  if (process.env.DEBIAN_MIRROR) return `${process.env.DEBIAN_MIRROR.replace(/\/*$/, '')}/`
  const format = '$(RELEASE)|$(REPO_URI)'
  const rows = run('apt-get', ['indextargets', '--format', format, 'Created-By: Packages']).trim().split('\n')
  const found = rows
    .map((row) => row.split('|'))
    .find(([release, uri]) => uri.endsWith('/debian/') && !release.includes('-'))
  if (found === undefined) {
    throw new Error('apt uses no archive of Debian on this machine. Set DEBIAN_MIRROR to the address of one.')
  }
  return found[1]
}

export const sha256 = (file) => createHash('sha256').update(readFileSync(file)).digest('hex')

/**
 * Returns the packages with all that they depend on, as `{ file, sha256 }` below the archive. apt works in a tree
 * of its own, in which nothing is installed.
 */
export function resolve({ suite, architecture, packages }, cache) {
  const tree = path.join(cache, 'apt', `${suite}-${architecture}`)
  for (const each of ['etc/apt/preferences.d', 'lists/partial', 'archives/partial']) {
    mkdirSync(path.join(tree, each), { recursive: true })
  }
  writeFileSync(path.join(tree, 'status'), '')
  const uri = archive()
  writeFileSync(path.join(tree, 'etc/apt/sources.list'), `deb [signed-by=${KEYRING}] ${uri} ${suite} main\n`)
  const settings = {
    'Dir::Etc': path.join(tree, 'etc/apt'),
    'Dir::Etc::SourceList': path.join(tree, 'etc/apt/sources.list'),
    'Dir::Etc::SourceParts': '/dev/null',
    'Dir::State': tree,
    'Dir::State::Lists': path.join(tree, 'lists'),
    'Dir::State::status': path.join(tree, 'status'),
    'Dir::Cache': tree,
    'Dir::Cache::archives': path.join(tree, 'archives'),
    'APT::Architecture': architecture,
    'APT::Architectures': architecture,
    'APT::Sandbox::User': '',
    'Acquire::IndexTargets::deb::DEP-11::DefaultEnabled': 'false',
    'Acquire::ForceHash': 'SHA256',
    // Suites that are no longer supported get no new signature.
    'Acquire::Check-Valid-Until': 'false',
  }
  const options = Object.entries(settings).flatMap(([name, value]) => ['-o', `${name}=${value}`])
  run('apt-get', [...options, '-qq', 'update'], { stdio: ['ignore', 'inherit', 'inherit'] })
  const printed = run('apt-get', [...options, '-qq', '--print-uris', '--no-install-recommends', 'install', ...packages])
  return [...printed.matchAll(/^'([^']+)' \S+ \d+ SHA256:([0-9a-f]{64})$/gm)]
    .map(([, address, sum]) => ({ file: decodeURIComponent(address.slice(uri.length)), sha256: sum }))
    .sort((a, b) => (a.file < b.file ? -1 : 1))
}

/** Returns the paths of these packages. Fetches those that the cache lacks. */
export function fetchPackages(pinned, cache, report) {
  const directory = path.join(cache, 'packages')
  mkdirSync(directory, { recursive: true })
  const at = ({ sha256: sum }) => path.join(directory, `${sum}.deb`)
  const missing = pinned.filter((each) => !existsSync(at(each)))
  for (let start = 0; start < missing.length; start += FETCHED_AT_ONCE) {
    const group = missing.slice(start, start + FETCHED_AT_ONCE)
    report(`fetching Debian packages: ${start} of ${missing.length}`)
    const uri = archive()
    const triples = group.flatMap((each) => {
      const address = uri + each.file.replaceAll('+', '%2b')
      return [address, `${at(each)}.part`, `SHA256:${each.sha256}`]
    })
    const options = ['-qq', '-o', 'APT::Sandbox::User=', 'download-file']
    try {
      run('/usr/lib/apt/apt-helper', [...options, ...triples], { stdio: ['ignore', 'ignore', 'pipe'] })
    } catch (error) {
      throw new Error(
        `Not every package could be fetched:\n${error.stderr}\nIf the archive has newer ones, run ` +
          '"npm run test:platforms -- --update-lock" and commit e2e/platforms/lock.json.',
        { cause: error },
      )
    }
    for (const each of group) {
      if (sha256(`${at(each)}.part`) !== each.sha256) throw new Error(`${each.file} has another hash than in lock.json`)
      renameSync(`${at(each)}.part`, at(each))
    }
  }
  return pinned.map(at)
}

/** Unpacks packages into a directory, which is made if it does not exist. No script of a package runs. */
export function unpack(files, directory) {
  mkdirSync(directory, { recursive: true })
  for (const file of files) run('dpkg-deb', ['--extract', file, directory])
}

/** Makes a directory by `fill`, if it does not exist. An interrupted run leaves nothing under its name. */
export function makeOnce(directory, fill) {
  if (existsSync(directory)) return directory
  const part = `${directory}.part`
  rmSync(part, { recursive: true, force: true })
  mkdirSync(part, { recursive: true })
  fill(part)
  renameSync(part, directory)
  return directory
}
