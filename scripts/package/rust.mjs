// Chooses the Rust that builds a target.
import { existsSync, readdirSync, realpathSync } from 'node:fs'
import path from 'node:path'
import { fetchDebianRust, hasDebian } from './debian-rust.mjs'
import { output, progress } from './run.mjs'
import { root } from './targets.mjs'

/** How long rustup may take, in ms. Without a network it can wait far longer. */
const RUSTUP_TIMEOUT = 120_000

/**
 * @typedef {object} Rust
 * @property {string} name What to call it in progress lines.
 * @property {Record<string, string>} env The environment that has cargo use it.
 * @property {string[]} cargoArgs Arguments that cargo needs with it.
 * @property {string[]} sources Where the sources of the standard library are, if they are there.
 * @property {string} commit The commit of rust-lang/rust from which it was built.
 */

let rustupFailed = false

/**
 * Returns the machine's own Rust if it can build the target, after rustup has added the target if need be. Else
 * returns Debian's, which builds the standard library for the target.
 *
 * @param {{ triple: string }} target
 * @param {{ rustup: boolean }} options Whether rustup may add targets.
 * @returns {Rust}
 */
export function rustFor({ triple }, { rustup }) {
  const own = ownRust()
  if (own !== undefined && (hasTarget(own.sysroot, triple) || (rustup && addTarget(own.sysroot, triple)))) {
    return describe({ ...own, name: `Rust ${own.version}`, cargoArgs: [] })
  }
  if (hasDebian()) {
    const { env, sysroot } = fetchDebianRust()
    const cargoArgs = ['-Zbuild-std=std,panic_unwind']
    return describe({ name: "Debian's Rust and a standard library of our own", env, sysroot, cargoArgs })
  }
  const cure = `Run "rustup target add ${triple}", or use Debian 12 on x64, whose package rustc-web this can fetch`
  throw new Error(`No Rust has a standard library for ${triple}. ${cure}.`)
}

/** Returns the Rust that `cargo` uses in the checkout, or `undefined` if there is none. */
function ownRust() {
  const sysroot = output('rustc', ['--print', 'sysroot'], { cwd: root })
  if (sysroot === undefined) return undefined
  return { sysroot, env: {}, version: /^release: (.*)$/m.exec(version({}))[1] }
}

const version = (env) => output('rustc', ['-vV'], { cwd: root, env: { ...process.env, ...env } }) ?? ''

/** Returns whether a toolchain has the standard library of a target. */
function hasTarget(sysroot, triple) {
  const folder = path.join(sysroot, 'lib', 'rustlib', triple, 'lib')
  return existsSync(folder) && readdirSync(folder).some((name) => /^libstd-.*\.rlib$/.test(name))
}

function addTarget(sysroot, triple) {
  if (rustupFailed) return false
  progress(`Adding ${triple} with rustup`)
  const stdio = ['ignore', 'pipe', 'inherit']
  output('rustup', ['target', 'add', triple], { cwd: root, timeout: RUSTUP_TIMEOUT, stdio })
  rustupFailed = !hasTarget(sysroot, triple)
  if (rustupFailed) progress('rustup could not add it')
  return !rustupFailed
}

function describe({ name, env, sysroot, cargoArgs }) {
  const sources = path.join(sysroot, 'lib', 'rustlib', 'src', 'rust')
  const real = existsSync(sources) ? [realpathSync(sources)] : []
  const commit = /^commit-hash: (.*)$/m.exec(version(env))?.[1] ?? 'unknown'
  return { name, env, cargoArgs, commit, sources: [...new Set([sources, ...real])] }
}
