// Loading the package without a usable addon fails with the cause, and says what to do.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { chmodSync, copyFileSync, cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { explainLoadFailure } from '../lib/load-failure.js'
import { addonFile, compiler, isRoot, root, runNode, tempDir } from './support.mjs'

const builtName = path.basename(addonFile)
const [, platform] = /^sandbox-volumes\.(.*)\.node$/.exec(builtName)
const packageName = `sandbox-volumes-${platform}`

/** Creates an application that has the package installed, and with `addon` also the package of its platform. */
function installed(t, { addon = true } = {}) {
  const app = tempDir(t)
  const to = path.join(app, 'node_modules', 'sandbox-volumes')
  mkdirSync(to, { recursive: true })
  for (const name of ['index.js', 'lib', 'package.json']) {
    cpSync(path.join(root, name), path.join(to, name), { recursive: true })
  }
  const dir = path.join(app, 'node_modules', packageName)
  const file = path.join(dir, builtName)
  if (addon) {
    mkdirSync(dir)
    copyFileSync(addonFile, file)
    copyFileSync(path.join(root, 'npm', platform, 'package.json'), path.join(dir, 'package.json'))
  }
  return { app, to, dir, file }
}

/** Returns the outcome of loading: the parts of the error, or `loaded`. */
async function load(app, { before = '', ...options } = {}) {
  const source = `${before}
    try { require('sandbox-volumes'); console.log('"loaded"') }
    catch (error) {
      const { name, message, code, cause } = error
      console.log(JSON.stringify({ name, message, code, cause: cause?.message, all: require('node:util').inspect(error) }))
    }`
  const { code, stdout } = await runNode(source, { type: 'commonjs', cwd: app, ...options })
  assert.equal(code, 0)
  return JSON.parse(stdout)
}

/** Asserts that loading fails with an error of this package that matches, and does not blame npm. */
async function fails(app, pattern, options) {
  const { name, message, code, all } = await load(app, options)
  assert.deepEqual([name, code], ['VolumeError', 'ERR_ADDON_NOT_LOADED'])
  assert.match(message, pattern)
  assert.doesNotMatch(all, /npm has a bug/)
}

test('a package with its addon loads', async (t) => {
  assert.equal(await load(installed(t).app), 'loaded')
})

test('an addon that was built in a checkout is preferred to an installed one', async (t) => {
  const { app, to, file } = installed(t)
  copyFileSync(file, path.join(to, builtName))
  writeFileSync(file, 'damaged')
  assert.equal(await load(app), 'loaded')
})

test('the package of the platform that was left out is named, with both cures', async (t) => {
  const { app } = installed(t, { addon: false })
  const missing = `the package "${packageName}", .* is not installed\\. .* without --omit=optional, .* lockfile is of another platform`
  await fails(app, new RegExp(missing))
})

test('a package of the platform without the addon in it is named', async (t) => {
  const { app, file } = installed(t)
  rmSync(file)
  await fails(app, new RegExp(`the package "${packageName}" is installed, and the addon in it is missing`))
})

test('a package of the platform of another version is named, with both versions', async (t) => {
  const { app, to } = installed(t)
  const manifest = path.join(to, 'package.json')
  const { version } = JSON.parse(readFileSync(manifest, 'utf8'))
  writeFileSync(manifest, JSON.stringify({ name: 'sandbox-volumes', version: '99.0.0', main: 'index.js' }))
  const versions = `It has version ${version}, and sandbox-volumes has version 99\\.0\\.0\\.`
  await fails(app, new RegExp(`"${packageName}" is of another version\\. ${versions} Install sandbox-volumes again`))
})

test('a platform or an architecture without an addon is named', async (t) => {
  const { app } = installed(t)
  const having = (name, value) => ({
    before: `Object.defineProperty(process, '${name}', { value: '${value}' })`,
  })
  for (const [platform, value] of [
    ['platform', 'darwin'],
    ['platform', 'win32'],
    ['platform', 'freebsd'],
    ['arch', 'ia32'],
    ['arch', 's390x'],
  ]) {
    await fails(app, new RegExp(`there is none for .*${value}.* linux on x64 and linux on arm64`), having(platform, value))
  }
})

test('an option of Node.js that forbids addons is named', async (t) => {
  const { app } = installed(t)
  await fails(app, /started with --no-addons/, { args: ['--no-addons'] })
  const [major] = process.versions.node.split('.').map(Number)
  const permission = major < 23 ? '--experimental-permission' : '--permission'
  await fails(app, /--allow-addons/, { args: [permission, '--allow-fs-read=*'] })
  const own = `--allow-fs-read=${path.join(app, 'node_modules', 'sandbox-volumes')}/*`
  await fails(app, /--allow-addons, and with --allow-fs-read/, { args: [permission, '--allow-addons', own] })
})

test('a file that is not an addon is reported in the words of the linker', async (t) => {
  const { app, file } = installed(t)
  writeFileSync(file, 'damaged')
  await fails(app, /(?:file too short|Exec format error).*\. Install the package again/)
})

test('an addon that is cut off is reported, and does not end the process', async (t) => {
  const { app, file } = installed(t)
  const whole = readFileSync(file)
  for (const share of [0.1, 0.5, 0.999]) {
    writeFileSync(file, whole.subarray(0, Math.floor(whole.length * share)))
    const cutOff = new RegExp(`the end is missing of the file "${file}"\\. Install the package again`)
    await fails(app, cutOff)
    await fails(app, cutOff, { env: { SANDBOX_VOLUMES_ADDON: file } })
  }
})

test('an addon for another architecture or system is named', async (t) => {
  const { app, file } = installed(t)
  const addon = readFileSync(file)
  const other = process.arch === 'x64' ? { machine: 183, name: 'arm64' } : { machine: 62, name: 'x64' }
  const here = `and this process is for ${process.arch}\\. Install sandbox-volumes on this machine`
  for (const [name, change] of [
    [other.name, () => addon.writeUInt16LE(other.machine, 18)],
    ['ia32', () => addon.writeUInt16LE(3, 18)],
    ['macOS', () => addon.writeUInt32BE(0xcffaedfe, 0)],
    ['Windows', () => addon.write('MZ', 0)],
  ]) {
    change()
    writeFileSync(file, addon)
    await fails(app, new RegExp(`"${file}" is for ${name}, ${here}`))
  }
})

test('the addon that the environment names is loaded, and one that is not there is named', async (t) => {
  const { app, file } = installed(t)
  const elsewhere = path.join(app, 'other.node')
  copyFileSync(file, elsewhere)
  writeFileSync(file, 'damaged')
  assert.equal(await load(app, { env: { SANDBOX_VOLUMES_ADDON: elsewhere } }), 'loaded')
  await fails(app, /SANDBOX_VOLUMES_ADDON names "\/nothing\.node"/, { env: { SANDBOX_VOLUMES_ADDON: '/nothing.node' } })
})

/** What the linkers and runtimes say that cannot be brought about on every machine, and what is made of it. */
const MESSAGES = [
  ["Error loading shared library ld-linux-x86-64.so.2: No such file or directory (needed by /x.node)", /for glibc, and this system has musl/],
  ['/x.node: libc.musl-x86_64.so.1: cannot open shared object file', /for musl, and this system has glibc/],
  ['libc.so: cannot open shared object file: No such file or directory', /for musl, and this system has glibc/],
  ['/usr/lib/x86_64-linux-gnu/libc.so: invalid ELF header', /for musl, and this system has glibc/],
  ['Error relocating /x.node: renameat2: symbol not found', /the musl of this system has no "renameat2"/],
  ['Error loading shared library /x.node: Operation not permitted', /mounted with noexec/],
  ['Requires ffi access to "/x.node", run again with the --allow-ffi flag', /Deno forbids addons\. Start it with --allow-ffi/],
  ['Requires env access to "SANDBOX_VOLUMES_ADDON", run again with the --allow-env flag', /Deno forbids addons\./],
]

test('the words of each linker and runtime become a cause and a cure', () => {
  for (const [message, pattern] of MESSAGES) {
    const attempts = [{ file: '/x.node', error: new Error(message) }]
    const known = { override: 'SANDBOX_VOLUMES_ADDON', platforms: [platform] }
    const error = explainLoadFailure(attempts, known)
    assert.match(error.message, pattern)
    assert.equal(error.cause.message, message)
  }
})

test('a glibc that is too old is named', { skip: compiler ? false : 'needs a C compiler' }, async (t) => {
  const { app, dir, file } = installed(t)
  writeFileSync(path.join(dir, 'x.c'), '#include <stdio.h>\nvoid x(void) { puts("x"); }\n')
  execFileSync(compiler, ['-shared', '-fPIC', '-o', file, path.join(dir, 'x.c')])
  // It then needs a version that does not exist.
  const library = readFileSync(file)
  library.write('GLIBC_9.', library.indexOf('GLIBC_2.'))
  writeFileSync(file, library)
  await fails(app, /it needs glibc 9\.[\d.]+, and this system has \d+\.\d+\. Use a newer/)
})

test('another module in place of the addon is named', async (t) => {
  const { app, dir } = installed(t)
  const other = path.join(app, 'other.cjs')
  writeFileSync(other, 'module.exports = {}')
  const notOurs = new RegExp(`"${other}" is not an addon of sandbox-volumes`)
  await fails(app, notOurs, { env: { SANDBOX_VOLUMES_ADDON: other } })
  const manifest = path.join(dir, 'package.json')
  writeFileSync(manifest, JSON.stringify({ ...JSON.parse(readFileSync(manifest, 'utf8')), main: 'other.js' }))
  writeFileSync(path.join(dir, 'other.js'), 'module.exports = undefined')
  await fails(app, new RegExp(`"${packageName}" is not an addon of sandbox-volumes`))
})

test('an addon that this user may not read is named', { skip: isRoot ? false : 'needs root, to be another user' }, async (t) => {
  const { app, file } = installed(t)
  chmodSync(app, 0o755)
  chmodSync(file, 0o600)
  const asAnother = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', '--']
  await fails(app, /this user may not read it .*Make node_modules readable/, { by: asAnother })
})

test('a file system that forbids to execute is named', { skip: isRoot ? false : 'needs root' }, async (t) => {
  const { app, dir } = installed(t)
  const mounted = ['unshare', '-m', 'sh', '-c', 'mount --bind "$0" "$0" && mount -o remount,bind,noexec "$0" && exec "$@"', dir]
  await fails(app, /mounted with noexec/, { by: mounted })
})
