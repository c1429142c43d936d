// What `npm run package` builds and packs: the checks of an addon, the files of each package, one version everywhere.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import { ADDON_BYTES_CEILING, MAX_ADDON_BYTES, checkAddon } from '../scripts/package/check.mjs'
import { publishedManifest } from '../scripts/package/manifest.mjs'
import { mainManifest, npmPack, stageMain, stagePlatform } from '../scripts/package/pack.mjs'
import { addonName, packageDir, packageName, root, selectTargets, targets } from '../scripts/package/targets.mjs'
import { outOfStep } from '../scripts/package/version.mjs'

const [gnu] = selectTargets(['linux-x64-gnu'])
const [musl] = selectTargets(['linux-x64-musl'])
const ownMachine = { x64: 'x86_64', arm64: 'aarch64' }[process.arch]
const target = { ...gnu, machine: ownMachine }


/** Creates a temporary directory. The one of `support.mjs` loads the addon, which these tests do not need. */
function tempDir(t) {
  const dir = mkdtempSync(path.join(tmpdir(), 'sandbox-volumes-'))
  t.after(() => rmSync(dir, { recursive: true }))
  return dir
}

/** Exports what follows, where all else is hidden. */
const EXPORT = '__attribute__((visibility("default")))'
const ENTRY = `${EXPORT} int napi_register_module_v1(void) { return 0; }`
/** The source of an addon that holds a text. */
const withText = (text) => `${ENTRY} ${EXPORT} const char napi_text[] = ${JSON.stringify(text)};`

/** Compiles a shared library in C, which calls the C library, and returns its file. */
function compile(t, source, ...flags) {
  const dir = tempDir(t)
  writeFileSync(path.join(dir, 'addon.c'), `extern int puts(const char *);\nint (*used)(const char *) = puts;\n${source}`)
  // Without the start-up code of the C compiler, which names symbols that no addon of Rust has.
  const args = ['-shared', '-fPIC', '-nostartfiles', '-fvisibility=hidden', '-o', 'addon.node', 'addon.c', ...flags]
  execFileSync('cc', args, { cwd: dir })
  return path.join(dir, 'addon.node')
}

test('an addon that keeps every rule passes', (t) => {
  assert.deepEqual(checkAddon(compile(t, ENTRY, '-s'), target), [])
})

const faults = [
  ['a newer glibc', `${ENTRY} extern int __libc_start_main(); void *newer = __libc_start_main;`, ['-s'], /needs GLIBC_2\.34, and the floor is 2\.28/],
  ['a symbol without a version', `${ENTRY} extern int renameat9(); void *missing = renameat9;`, ['-s'], /needs renameat9 of no version/],
  ['another library', ENTRY, ['-s', '-Wl,--no-as-needed', '-lgcc_s'], /needs the library libgcc_s\.so\.1/],
  ['no C library', ENTRY, ['-s', '-nostdlib'], /does not name the C library/],
  ['no entry', '', ['-s'], /does not export napi_register_module_v1/],
  ['a second export', `${ENTRY} ${EXPORT} int sqlite3_open(void) { return 0; }`, ['-s'], /exports sqlite3_open/],
  ['a symbol table', ENTRY, [], /has a symbol table/],
  ['debug information', ENTRY, ['-g'], /has debug information: .*\.debug_info/],
  ['a path of a user', withText('at /home/jane/src/lib.rs:5'), ['-s'], /holds the path \/home\/jane\/src/],
  ['the checkout', withText(path.join(root, 'src')), ['-s'], /holds the path \//],
  ['a registry', withText('/x/cargo/registry/src/y'), ['-s'], /holds the path \/cargo\/registry/],
  ['a search path', ENTRY, ['-s', '-Wl,-rpath,/opt/lib'], /searches libraries in \/opt\/lib/],
  ['an executable stack', ENTRY, ['-s', '-Wl,-z,execstack'], /makes the stack executable/],
  ['too many bytes', `${ENTRY} ${EXPORT} char napi_bytes[${MAX_ADDON_BYTES}] = {1};`, ['-s'], /has \d+ bytes, more than \d+/],
]
for (const [name, source, flags, expected] of faults) {
  test(`the checks refuse ${name}`, (t) => {
    assert.match(checkAddon(compile(t, source, ...flags), target).join('\n'), expected)
  })
}

test('an addon for another machine or another C library is found', (t) => {
  const file = compile(t, ENTRY, '-s')
  const other = ownMachine === 'x86_64' ? 'aarch64' : 'x86_64'
  assert.deepEqual(checkAddon(file, { ...target, machine: other }), [`It is for ${ownMachine}, not for ${other}.`])
  const found = checkAddon(file, { ...musl, machine: ownMachine }).join('\n')
  assert.match(found, /needs the library libc\.so\.6/)
  assert.match(found, /needs GLIBC_2\.\d+(\.\d+)?, and musl has no versions/)
})

test('a file that is no shared library, or is cut off, is found', (t) => {
  const bytes = readFileSync(compile(t, ENTRY, '-s'))
  const file = path.join(tempDir(t), 'addon.node')
  const faultsOf = (content) => {
    writeFileSync(file, content)
    return checkAddon(file, target)
  }
  assert.deepEqual(faultsOf('no library'), ['Not an ELF file.'])
  assert.deepEqual(faultsOf(Buffer.concat([bytes.subarray(0, 4), Buffer.of(1), bytes.subarray(5)])), [
    'Not an ELF file of 64 bits, little-endian.',
  ])
  assert.deepEqual(faultsOf(bytes.subarray(0, bytes.length / 2)), ['The ELF file is cut off.'])
  assert.deepEqual(faultsOf(Buffer.concat([bytes.subarray(0, 16), Buffer.of(2), bytes.subarray(17)])), ['Not a shared library.'])
})

test('the limit of bytes is below the ceiling', () => {
  assert.ok(MAX_ADDON_BYTES <= ADDON_BYTES_CEILING)
  assert.equal(ADDON_BYTES_CEILING, 7_000_000)
})

test('all files have one version, and those of the platforms are as the main package says', () => {
  const { version } = mainManifest()
  assert.deepEqual([...outOfStep(version).keys()], [], 'Run "npm run version".')
})

test('a new version is written to each file that has one', () => {
  const changed = outOfStep('7.8.9-beta.1')
  const expected = ['package.json', 'package-lock.json', 'Cargo.toml', 'Cargo.lock', 'fuzz/Cargo.lock']
  const manifests = targets.map(({ platform }) => `npm/${platform}/package.json`)
  for (const name of [...expected, ...manifests]) {
    assert.equal(changed.get(name)?.match(/7\.8\.9-beta\.1/g)?.length, name === 'package-lock.json' ? 2 : 1, name)
  }
  for (const faulty of ['7.8', 'v7.8.9', '7.8.9 ', '']) assert.throws(() => outOfStep(faulty), /is not a version/)
})

/** Returns the files of a package, from a folder that `stage` fills. */
function packed(t, stage) {
  const folder = tempDir(t)
  stage(folder)
  const [{ files, name }] = npmPack(folder, '--dry-run')
  const manifest = JSON.parse(readFileSync(path.join(folder, 'package.json'), 'utf8'))
  return { name, manifest, files: files.map((file) => file.path).sort() }
}

test('the main package has what users need, and nothing else', (t) => {
  const { name, manifest, files } = packed(t, stageMain)
  assert.equal(name, 'sandbox-volumes')
  const entriesOf = (names) => [...new Set(names.map((name) => name.split('/')[0]))].sort()
  assert.deepEqual(entriesOf(files), entriesOf(['LICENSE', 'README.md', 'package.json', ...mainManifest().files]))
  assert.deepEqual(files.filter((file) => /\.(?:node|rs|mjs|c|tgz)$|test/.test(file) && !file.startsWith('docs/')), [])
  for (const folder of ['lib', 'types', 'docs']) {
    const own = readdirSync(path.join(root, folder), { recursive: true, withFileTypes: true })
    const count = own.filter((entry) => entry.isFile() && entry.name !== 'native.d.ts').length
    assert.equal(files.filter((file) => file.startsWith(`${folder}/`)).length, count, folder)
  }
  assert.deepEqual(manifest, publishedManifest(mainManifest()))
  assert.deepEqual(manifest.optionalDependencies, Object.fromEntries(targets.map((each) => [packageName(each), manifest.version])))
  assert.equal(manifest.scripts, undefined)
})

test('the checkout has no optional dependencies, with which npm ci would fail before a release', () => {
  assert.equal(mainManifest().optionalDependencies, undefined)
})

for (const each of targets) {
  test(`the package of ${each.platform} has the addon, its manifest, README and licence`, (t) => {
    const file = path.join(tempDir(t), 'addon.node')
    writeFileSync(file, 'an addon')
    const { name, manifest, files } = packed(t, stagePlatform(each, file))
    assert.equal(name, packageName(each))
    assert.deepEqual(files, ['LICENSE', 'README.md', 'package.json', addonName(each)].sort())
    assert.equal(manifest.main, addonName(each))
    assert.deepEqual([manifest.os, manifest.cpu, manifest.libc], [['linux'], [each.cpu], [each.libc]])
    assert.equal(manifest.repository.directory, path.relative(root, packageDir(each)))
  })
}

test('npm/ has a folder for each target, and package.json names its triple', () => {
  assert.deepEqual(readdirSync(path.join(root, 'npm')).sort(), targets.map(({ platform }) => platform).sort())
  assert.deepEqual(mainManifest().napi.targets, targets.map(({ triple }) => triple))
})

test('a platform without a package is refused by name', () => {
  assert.throws(() => selectTargets(['linux-x64-gnu', 'win32-x64']), /^Error: No package for "win32-x64"\. There are: linux-x64-gnu/)
})
