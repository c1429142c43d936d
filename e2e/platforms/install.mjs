// Installs the packed tarballs as npm does, and puts the tests beside the installed package.
import { execFileSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'

/** The installed package, from the directory of the application. */
export const INSTALLED = 'node_modules/sandbox-volumes'

/** Returns the tarballs of a platform, which `npm run package` makes. */
function tarballs(dist, version, platform) {
  const packages = ['sandbox-volumes', `sandbox-volumes-${platform}`]
  const files = packages.map((name) => path.join(dist, `${name}-${version}.tgz`))
  const missing = files.find((file) => !existsSync(file))
  if (missing !== undefined) {
    throw new Error(`"${missing}" is not there. Run "npm run package -- --only ${platform}" first.`)
  }
  return files
}

/**
 * Makes the directory of an application that has installed the package from tarballs in `dist`, and the tests of the
 * checkout within that package. What the package has itself is never replaced.
 */
export function install(checkout, { name: platform, root: { libc } }, dist, app) {
  const { version } = JSON.parse(readFileSync(path.join(checkout, 'package.json'), 'utf8'))
  const files = tarballs(dist, version, platform)
  rmSync(app, { recursive: true, force: true })
  mkdirSync(app, { recursive: true })
  writeFileSync(path.join(app, 'package.json'), '{ "private": true }\n')
  const [, cpu] = platform.split('-')
  const options = ['--offline', '--no-audit', '--no-fund', '--no-package-lock', '--ignore-scripts', '--loglevel=error']
  // npm refuses a package for another C library or processor than those of this machine, whatever the options say.
  if (platform !== 'linux-x64-gnu') options.push('--force', '--loglevel=silent')
  execFileSync('npm', ['install', ...options, '--os=linux', `--cpu=${cpu}`, `--libc=${libc}`, ...files], {
    cwd: app,
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  const listing = ['ls-files', '-z', '--cached', '--others', '--exclude-standard']
  const tracked = execFileSync('git', listing, { cwd: checkout, encoding: 'utf8' }).split('\0')
  for (const file of tracked.filter((each) => each !== '' && existsSync(path.join(checkout, each)))) {
    copyBeside(checkout, path.join(app, INSTALLED), file)
  }
}

function copyBeside(checkout, installed, file) {
  const [from, to] = [path.join(checkout, file), path.join(installed, file)]
  if (!existsSync(to)) {
    mkdirSync(path.dirname(to), { recursive: true })
    copyFileSync(from, to)
  } else if (/\.(js|d\.ts)$/.test(file) && !readFileSync(from).equals(readFileSync(to))) {
    throw new Error(`${file} of the tarball differs from that of the checkout. Run "npm run package" again.`)
  }
}
