// Fetches zig, which links for any glibc version and for musl, and cargo-zigbuild, which has cargo use it.
import { existsSync } from 'node:fs'
import path from 'node:path'
import { fillFolder, output, progress, run, sha256 } from './run.mjs'
import { cacheDir, root } from './targets.mjs'

const requirements = path.join(root, 'scripts', 'package', 'requirements.txt')

/**
 * Returns the command `cargo-zigbuild` and the environment that it needs. Fetches both tools, which takes about 100 MB,
 * if they are not in the cache.
 *
 * @returns {{ command: string, env: Record<string, string> }}
 */
export function fetchTools() {
  const folder = path.join(cacheDir, `tools-${sha256(requirements).slice(0, 12)}`)
  if (!existsSync(folder)) {
    progress('Fetching zig and cargo-zigbuild')
    const python = findPip()
    const options = ['--no-deps', '--only-binary=:all:', '--require-hashes', '--disable-pip-version-check', '--quiet']
    fillFolder(folder, (temporary) => {
      const env = { ...process.env, PIP_ROOT_USER_ACTION: 'ignore' }
      run(python, ['-m', 'pip', 'install', ...options, '--target', temporary, '--requirement', requirements], { env })
    })
  }
  const zigCache = path.join(cacheDir, 'zig')
  return {
    command: path.join(folder, 'bin', 'cargo-zigbuild'),
    env: {
      CARGO_ZIGBUILD_ZIG_PATH: path.join(folder, 'ziglang', 'zig'),
      CARGO_ZIGBUILD_CACHE_DIR: path.join(cacheDir, 'zigbuild'),
      ZIG_GLOBAL_CACHE_DIR: zigCache,
      ZIG_LOCAL_CACHE_DIR: zigCache,
    },
  }
}

/** Returns the first Python that has pip. */
export function findPip() {
  const found = ['python3', '/usr/bin/python3', 'python'].find(
    (python) => output(python, ['-m', 'pip', '--version']) !== undefined,
  )
  if (found === undefined) {
    throw new Error('Python 3 with pip was not found. On Debian, run "apt-get install python3-pip".')
  }
  return found
}
