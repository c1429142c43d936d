// Debian 12's Rust of the security suite, with the sources of its standard library: it builds for targets for which
// the machine's own Rust has no standard library. Nothing is installed: the packages are unpacked into the cache.
import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs'
import path from 'node:path'
import { fillFolder, output, progress, run, sha256 } from './run.mjs'
import { cacheDir } from './targets.mjs'

const RUST = '1.96.0+dfsg1-1~deb12u2'

/** Name, version and SHA-256 of each package: the toolchain, and the libraries that it is linked with. */
const packages = [
  ['cargo-web', RUST, 'daa5189c56b7e0895f9c89335aae3fc909272f5df332c101c80405695014b149'],
  ['rustc-web', RUST, '8fefe1d6377fe4082f5a9d2a47e095e2d20319eaab9754bd2f0275155c9adf90'],
  ['rust-web-src', RUST, '9de8597c464d0a9283672973ed7e50092b49a92b95861429043fe8b57468a208'],
  ['libstd-rust-web-1.96', RUST, '3755f30434ae29574c91b0beb86632bee401607b0ac35c3e52810f9a53fae0d1'],
  ['libstd-rust-web-dev', RUST, 'e38dbeaaad673fc63fb47c5140cf34da271ac71c3ecafc828b762c2fb01fe77a'],
  ['libllvm22', '1:22.1.8-1~deb12u1', '729ec3e943d320515c2bbdc96acfffd7ce34861e62bd5c42726bf586d644dfe2'],
  ['libz3-4', '4.8.12-3.1', '6221ca25ad5abcfbe1965801029d85a88b4775320384b4b716de8fab7a4d2f7a'],
  ['libgit2-1.5', '1.5.1+ds-1+deb12u2', '0ff5b31dc6a86baabb60584f5cdf801c3e5e9a92ec13f4099e1b3295309b9e0a'],
  ['libhttp-parser2.9', '2.9.4-5', '98045b047b8f3ccfdd7930983797df3e316112e1cd4d161fc793260e31183b59'],
  ['libmbedcrypto7', '2.28.3-1', 'af3295f80abf7e6ba2cba419134e29bde04192bf3614622ee53ce49de8d02abe'],
  ['libmbedtls14', '2.28.3-1', '621ddfb85c668a86d755fae7bb0f31f00d83e4456c8171f9da7445a54b04da9c'],
  ['libmbedx509-1', '2.28.3-1', '3377b6bedec2882b9fefeb0ef960ad4dc372939854d76adf761ba70e71d35c3b'],
  ['libssh2-1', '1.10.0-3+deb12u1', 'fff72a194e493f88e100a2567e22472bb4ab828d429c2956965c6f2f134f1b3a'],
]

/** Returns whether this machine can fetch and run the toolchain. */
export function hasDebian() {
  const architecture = output('dpkg', ['--print-architecture'])
  return architecture === 'amd64' && output('apt-get', ['--version']) !== undefined
}

/**
 * Returns the environment in which cargo uses this toolchain and can build the standard library. Fetches 150 MB, which
 * take 900 MB on the disk, if the toolchain is not in the cache.
 *
 * @returns {{ env: Record<string, string>, sysroot: string }}
 */
export function fetchDebianRust() {
  const folder = path.join(cacheDir, `debian-rust-${sha256(Buffer.from(JSON.stringify(packages))).slice(0, 12)}`)
  if (!existsSync(folder)) {
    const files = download(`${folder}-packages`)
    progress("Unpacking Debian's Rust")
    fillFolder(folder, (temporary) => files.forEach((file) => run('dpkg', ['--extract', file, temporary])))
    rmSync(`${folder}-packages`, { recursive: true })
  }
  const usr = path.join(folder, 'usr')
  const bin = path.join(usr, 'bin')
  return {
    sysroot: usr,
    env: {
      PATH: `${bin}${path.delimiter}${process.env.PATH}`,
      LD_LIBRARY_PATH: path.join(usr, 'lib', 'x86_64-linux-gnu'),
      CARGO: path.join(bin, 'cargo'),
      RUSTC: path.join(bin, 'rustc'),
      // Building the standard library is an unstable option of cargo.
      RUSTC_BOOTSTRAP: '1',
    },
  }
}

/** Returns the files of the packages in `folder`. Fetches those that are not there, or not whole. */
function download(folder) {
  mkdirSync(folder, { recursive: true })
  const missing = () => packages.filter(([name, , hash]) => !hasHash(fileOf(folder, name), hash))
  const wanted = missing()
  if (wanted.length > 0) {
    progress(`Fetching ${wanted.length} packages of Debian's Rust`)
    wanted.forEach(([name]) => rmSync(fileOf(folder, name) ?? '', { force: true }))
    // Lists of our own, so that this needs no root and changes nothing on the machine.
    const lists = path.join(cacheDir, 'apt', 'lists')
    const cache = path.join(cacheDir, 'apt', 'cache')
    for (const directory of [lists, path.join(cache, 'archives')]) {
      mkdirSync(path.join(directory, 'partial'), { recursive: true })
    }
    const options = [`Dir::State::Lists=${lists}`, `Dir::Cache=${cache}`, 'Debug::NoLocking=true']
    if (process.getuid() === 0) options.push('APT::Sandbox::User=root')
    const flags = options.flatMap((option) => ['-o', option])
    const apt = (...args) => run('apt-get', ['-qq', ...flags, ...args], { cwd: folder })
    try {
      apt('update')
      apt('download', ...wanted.map(([name, version]) => `${name}=${version}`))
    } catch (cause) {
      const needs = "This needs the package lists of Debian 12's main and security suites."
      const advice = 'If these have newer versions, enter them in scripts/package/debian-rust.mjs.'
      throw new Error(`Cannot fetch Debian's Rust. ${needs} ${advice}`, { cause })
    }
    const found = (file) => (file === undefined ? 'is not there' : `is ${sha256(file)}`)
    const faulty = missing().map(([name]) => `${name} ${found(fileOf(folder, name))}`)
    if (faulty.length > 0) throw new Error(`The packages have other hashes than expected:\n${faulty.join('\n')}`)
  }
  return packages.map(([name]) => fileOf(folder, name))
}

/** Returns the file of a package. Its name has the version, with a colon written as "%3a". */
function fileOf(folder, name) {
  const found = readdirSync(folder).find((file) => file.startsWith(`${name}_`) && file.endsWith('.deb'))
  return found && path.join(folder, found)
}

const hasHash = (file, hash) => file !== undefined && sha256(file) === hash
