// Loading the package without a usable addon fails with the cause, and says what to do.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { copyFileSync, cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { isRoot, root, runNode, tempDir } from './support.mjs'

const builtName = readdirSync(root).find((name) => /^sandbox-volumes\.linux-.*\.node$/.test(name))
const [, platform] = /^sandbox-volumes\.(.*)\.node$/.exec(builtName)
const packageName = `sandbox-volumes-${platform}`

/** Creates an application that has the package installed, and with `addon` also the package of its platform. */
function installed(t, { addon = true } = {}) {
  const app = tempDir(t)
  const to = path.join(app, 'node_modules', 'sandbox-volumes')
  mkdirSync(to, { recursive: true })
  for (const name of ['index.js', 'native.js', 'lib', 'package.json']) {
    cpSync(path.join(root, name), path.join(to, name), { recursive: true })
  }
  const dir = path.join(app, 'node_modules', packageName)
  const file = path.join(dir, builtName)
  if (addon) {
    mkdirSync(dir)
    copyFileSync(path.join(root, builtName), file)
    copyFileSync(path.join(root, 'npm', platform, 'package.json'), path.join(dir, 'package.json'))
  }
  return { app, dir, file }
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

test('the package of the platform that was left out is named', async (t) => {
  const { app } = installed(t, { addon: false })
  await fails(app, new RegExp(`the package "${packageName}", .* is not installed\\. .* without --omit=optional`))
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
    await fails(app, new RegExp(`there is none for .*${value}.* linux on x64 and arm64`), having(platform, value))
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
  await fails(app, /file too short.*\. Install the package again/)
})

test('an override that leads to nothing is named', async (t) => {
  const { app } = installed(t)
  await fails(app, /NAPI_RS_NATIVE_LIBRARY_PATH names "\/nothing\.node"/, {
    env: { NAPI_RS_NATIVE_LIBRARY_PATH: '/nothing.node' },
  })
})

const compiler = ['/usr/bin/cc', '/usr/bin/gcc'].find((file) => {
  try {
    return execFileSync(file, ['--version'])
  } catch {
    return undefined
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

test('a file system that forbids to execute is named', { skip: isRoot ? false : 'needs root' }, async (t) => {
  const { app, dir } = installed(t)
  const mounted = ['unshare', '-m', 'sh', '-c', 'mount --bind "$0" "$0" && mount -o remount,bind,noexec "$0" && exec "$@"', dir]
  await fails(app, /mounted with noexec/, { by: mounted })
})
