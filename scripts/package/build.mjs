// Builds the addon of one target, without a trace of the machine that builds it.
import { copyFileSync, existsSync, readdirSync, realpathSync, renameSync } from 'node:fs'
import { homedir } from 'node:os'
import path from 'node:path'
import { run } from './run.mjs'
import { addonFile, cacheDir, GLIBC_FLOOR, root } from './targets.mjs'

/** Separates the flags in CARGO_ENCODED_RUSTFLAGS, which may have spaces. */
const FLAG_SEPARATOR = '\x1f'

/** Extensions of SQLite that the catalog does not use. Without them the addon is 0.4 MB smaller. */
const SQLITE_EXTENSIONS = ['DBSTAT_VTAB', 'FTS3', 'FTS3_PARENTHESIS', 'FTS5', 'RTREE']

export const cargoHome = process.env.CARGO_HOME ?? path.join(homedir(), '.cargo')

/**
 * Builds the addon into its package's folder.
 *
 * @param {typeof import('./targets.mjs').targets[number]} target
 * @param {import('./rust.mjs').Rust} rust
 * @param {{ command: string, env: Record<string, string> }} tools
 */
export function buildAddon(target, rust, tools) {
  const env = { ...process.env, ...rust.env, ...tools.env, CARGO_INCREMENTAL: '0' }
  run(rust.env.CARGO ?? 'cargo', ['fetch', '--locked', '--quiet'], { cwd: root, env })

  const renames = pathRenames(rust)
  const flags = renames.map(([from, to]) => `--remap-path-prefix=${from}=${to}`)
  // Rust links musl statically by default, and then cannot make a shared library.
  if (target.libc === 'musl') flags.push('-Ctarget-feature=-crt-static')
  env.CARGO_ENCODED_RUSTFLAGS = flags.join(FLAG_SEPARATOR)
  const cFlags = renames.map(([from, to]) => quote(`-ffile-prefix-map=${from}=${to}`))
  env[`CFLAGS_${target.triple.replaceAll('-', '_')}`] = cFlags.join(' ')
  env.CC_SHELL_ESCAPED_FLAGS = '1'
  env.LIBSQLITE3_FLAGS = SQLITE_EXTENSIONS.map((name) => `-USQLITE_ENABLE_${name}`).join(' ')

  const targetDir = path.join(cacheDir, 'target')
  const versioned = target.libc === 'glibc' ? `${target.triple}.${GLIBC_FLOOR}` : target.triple
  const args = ['--lib', '--locked', '--profile', 'dist', '--target', versioned, '--target-dir', targetDir]
  run(tools.command, ['zigbuild', ...args, ...rust.cargoArgs], { cwd: root, env })

  const built = path.join(targetDir, target.triple, 'dist', 'libsandbox_volumes.so')
  const temporary = `${addonFile(target)}.tmp`
  copyFileSync(built, temporary)
  renameSync(temporary, addonFile(target))
}

/**
 * Returns the folders of this machine whose names would be in the addon, in panic messages above all, and the name
 * that each has there. Where one is in another, the inner one is last, because the last match counts. The names do not
 * depend on where the checkout, the registry or the toolchain are, so that other machines build the same bytes.
 */
function pathRenames({ sources, commit }) {
  const registries = path.join(cargoHome, 'registry', 'src')
  const registryNames = existsSync(registries) ? readdirSync(registries) : []
  const both = (folder) => (existsSync(folder) ? [...new Set([folder, realpathSync(folder)])] : [])
  return [
    ...both(path.resolve(root)).map((folder) => [folder, '/sandbox-volumes']),
    ...both(cargoHome).map((folder) => [folder, '/cargo']),
    ...registryNames.flatMap((name) => both(path.join(registries, name))).map((folder) => [folder, '/crates']),
    // What Rust itself calls its sources.
    ...sources.map((folder) => [folder, `/rustc/${commit}`]),
  ]
}

/** Quotes an argument as a POSIX shell does. */
const quote = (text) => `'${text.replaceAll("'", `'\\''`)}'`
