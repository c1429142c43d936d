// The commands that make a release: what they check, and what they publish, against a registry of their own.
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import path from 'node:path'
import { test } from 'node:test'
import { section } from '../scripts/release/changelog.mjs'
import { assertNpm, distTag, packedPackages } from '../scripts/release/publish-packages.mjs'
import { packagesIn, releaseFaults, versionOf } from '../scripts/release/tree.mjs'
import { root, tempDir } from './support.mjs'

const PLATFORMS = ['linux-arm64-gnu', 'linux-x64-gnu']
const REPOSITORY = { type: 'git', url: 'git+https://github.com/owner/sandbox-volumes.git' }

/** Writes a tree of version 1.2.3. A change of one of its files is given by the file's name. */
function writeTree(directory, changes = {}) {
  const [name, version] = ['sandbox-volumes', '1.2.3']
  const files = {
    'package.json': { name, version, repository: REPOSITORY },
    'CHANGELOG.md': `# Changelog\n\n## Unreleased\n\n## ${version} (2026-12-01)\n\n### Added\n\n- A thing.\n`,
  }
  for (const platform of PLATFORMS) {
    files[`npm/${platform}/package.json`] = { name: `${name}-${platform}`, version, repository: REPOSITORY }
  }
  for (const [file, content] of Object.entries(files)) {
    const change = changes[file] ?? ((content) => content)
    const changed = change(content)
    mkdirSync(path.join(directory, path.dirname(file)), { recursive: true })
    writeFileSync(path.join(directory, file), typeof changed === 'string' ? changed : JSON.stringify(changed))
  }
  return directory
}

/** Copies the scripts into a tree, where they work on that tree. */
const copyScripts = (directory) => spawnSync('cp', ['-R', path.join(root, 'scripts'), directory])

test('a tree that fits its version has no faults, and each fault is found', (t) => {
  const faultsOf = (changes, repository = 'owner/sandbox-volumes') =>
    releaseFaults(writeTree(tempDir(t), changes), '1.2.3', repository).join('\n')
  assert.equal(faultsOf({}), '')
  assert.equal(faultsOf({}, undefined), '')
  assert.match(
    faultsOf({}, 'fork/sandbox-volumes').split('\n').at(-1),
    /^package\.json has the repository ".*owner.*" in place of ".*fork/,
  )
  const withoutRepository = ({ repository: _, ...manifest }) => manifest
  assert.match(faultsOf({ 'npm/linux-x64-gnu/package.json': withoutRepository }, undefined), /"undefined" in place of/)
  const unreleased = (text) => text.replace(/## 1\.2\.3.*/, '## Next')
  assert.match(
    faultsOf({ 'CHANGELOG.md': unreleased }),
    /no section "## 1\.2\.3 \(<date>\)". Rename "## Unreleased"\.$/,
  )
  assert.match(
    faultsOf({ 'CHANGELOG.md': (text) => text.split('### Added')[0] }),
    /section of 1\.2\.3 in CHANGELOG\.md is empty/,
  )
})

test('a tag is "v" and a version', () => {
  assert.deepEqual(['v1.2.3', 'v0.10.0-beta.1'].map(versionOf), ['1.2.3', '0.10.0-beta.1'])
  for (const tag of ['1.2.3', 'v1.2', 'v1.2.3-', 'v1.2.3 ', 'v1.2.3; ls', 'version', ''])
    assert.equal(versionOf(tag), null, tag)
  assert.deepEqual(['1.2.3', '1.2.3-beta.1'].map(distTag), ['latest', 'next'])
})

test('the section of a version ends where the next one begins', () => {
  const text =
    '# Changelog\n\n## Unreleased\n\n- a\n\n## 1.1.0 (2026-12-01)\n\n### Added\n\n- b\n\n## 1.0.0 (2026-11-01)\n\n- c\n'
  assert.equal(section(text, '1.1.0'), '### Added\n\n- b')
  assert.equal(section(text, '1.0.0'), '- c')
  assert.equal(section(text, '0.9.0'), null)
  assert.equal(section('## 1.0.0\n\n- without a date\n', '1.0.0'), null)
})

test('a tag of this tree fits once the changelog has its version, and no other tag does', (t) => {
  const directory = tempDir(t)
  for (const file of [
    'package.json',
    'package-lock.json',
    'Cargo.toml',
    'Cargo.lock',
    'fuzz/Cargo.lock',
    'npm',
    'scripts',
  ]) {
    cpSync(path.join(root, file), path.join(directory, file), {
      recursive: true,
      filter: (from) => !from.endsWith('.node'),
    })
  }
  const changelog = path.join(directory, 'CHANGELOG.md')
  writeFileSync(changelog, '# Changelog\n\n## Unreleased\n\n### Added\n')
  const { GITHUB_REPOSITORY: _, ...env } = process.env
  const run = (command, ...args) =>
    spawnSync(process.execPath, [path.join(directory, 'scripts/release', command), ...args], {
      cwd: directory,
      env,
      encoding: 'utf8',
    })
  const { version } = JSON.parse(readFileSync(path.join(directory, 'package.json'), 'utf8'))
  assert.match(run('check-tag.mjs', `v${version}`).stderr, /:\n {2}CHANGELOG\.md has no section .*\n$/)
  writeFileSync(changelog, readFileSync(changelog, 'utf8').replace('## Unreleased', `## ${version} (2026-12-01)`))
  const fits = run('check-tag.mjs', `v${version}`)
  assert.deepEqual([fits.status, fits.stderr], [0, ''])
  assert.match(
    fits.stdout,
    new RegExp(
      `^The tree fits v${version}\\. .*\\n(?: {2}sandbox-volumes-linux-.*\\n){4} {2}sandbox-volumes@${version}\\n$`,
    ),
  )
  assert.match(run('changelog-section.mjs', `v${version}`).stdout, /^### Added\n$/)

  const other = run('check-tag.mjs', 'v999.0.0')
  assert.equal(other.status, 1)
  for (const file of [
    'package.json',
    'package-lock.json',
    'Cargo.toml',
    'Cargo.lock',
    'npm/linux-x64-gnu/package.json',
  ]) {
    assert.ok(
      other.stderr.includes(`  ${file} is not at 999.0.0. Run "npm run version -- 999.0.0".\n`),
      `${file}\n${other.stderr}`,
    )
  }
  assert.match(run('check-tag.mjs', version).stderr, /^The tag ".*" is not "v" and a version/)
})

test('a command with wrong arguments prints its usage and ends with 1', () => {
  const run = (command, ...args) =>
    spawnSync(process.execPath, [`scripts/release/${command}`, ...args], { cwd: root, encoding: 'utf8' })
  assert.equal(run('check-tag.mjs').status, 1)
  assert.match(run('check-tag.mjs').stderr, /^Usage: node scripts\/release\/check-tag\.mjs <tag>\n$/)
  assert.match(run('changelog-section.mjs', 'v999.0.0').stderr, /no section for the tag "v999\.0\.0"/)
  assert.match(run('publish.mjs', '--fast').stderr, /Unknown option '--fast'.*\nUsage: /s)
})

test('an npm that cannot publish without a token is refused', () => {
  for (const version of ['11.5.1', '11.6.0', '12.0.0', '11.5.1-pre.0']) assertNpm(version)
  for (const version of ['11.5.0', '11.4.9', '10.9.9']) assert.throws(() => assertNpm(version), /too old for trusted/)
})

// -- Publishing -----------------------------------------------------------------------------------------------

/** Starts a registry on loopback, which keeps what npm publishes, and refuses it where `refuses(name)`. */
async function startRegistry(t) {
  const registry = { published: new Map(), order: [], refuses: () => false }
  const server = http.createServer(async (request, response) => {
    const name = decodeURIComponent(request.url.slice(1))
    const answer = (status, body) =>
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
    if (request.method === 'PUT') {
      const chunks = await request.toArray()
      const packument = JSON.parse(Buffer.concat(chunks))
      if (registry.refuses(name)) return answer(500, { error: 'refused' })
      registry.order.push(`${name}@${Object.keys(packument.versions)} ${Object.keys(packument['dist-tags'])}`)
      registry.published.set(name, packument)
      return answer(201, { ok: true })
    }
    const found = registry.published.get(name)
    return found === undefined ? answer(404, { error: 'not found' }) : answer(200, found)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  return Object.assign(registry, { url: `http://127.0.0.1:${server.address().port}/` })
}

/** Packs the packages of a tree into its `dist/`, as `npm run package` does, without their files. */
function packTree(directory) {
  mkdirSync(path.join(directory, 'dist'))
  const packages = packagesIn(directory)
  for (const { name, version, file, manifest } of packages) {
    const platforms = packages.slice(0, -1).map(({ name, version }) => [name, version])
    const published =
      file === 'package.json' ? { ...manifest, optionalDependencies: Object.fromEntries(platforms) } : manifest
    pack(directory, `${name}-${version}.tgz`, published)
  }
  return directory
}

/** Writes a tarball that has one file. */
function pack(directory, name, manifest) {
  const folder = path.join(directory, 'packing', 'package')
  mkdirSync(folder, { recursive: true })
  writeFileSync(path.join(folder, 'package.json'), JSON.stringify(manifest))
  const { status } = spawnSync('tar', [
    '-czf',
    path.join(directory, 'dist', name),
    '-C',
    path.dirname(folder),
    'package',
  ])
  assert.equal(status, 0)
}

/** Runs the command that publishes, from a copy of it in a tree of its own, so that it takes that tree's packages. */
async function publish(directory, registry, ...options) {
  const config = path.join(directory, 'npmrc')
  writeFileSync(config, `${registry.url.slice('http:'.length)}:_authToken=secret-of-the-test\nfetch-retries=0\n`)
  copyScripts(directory)
  const command = [path.join(directory, 'scripts/release/publish.mjs'), '--registry', registry.url, ...options]
  const env = { ...process.env, NPM_CONFIG_USERCONFIG: config, NPM_CONFIG_CACHE: path.join(directory, 'cache') }
  const child = spawn(process.execPath, command, { cwd: directory, env })
  const [out, err] = await Promise.all([child.stdout.toArray(), child.stderr.toArray()])
  const status = child.exitCode ?? (await once(child, 'exit'))[0]
  const output = Buffer.concat([...out, ...err]).toString()
  assert.doesNotMatch(output, /secret-of-the-test/)
  return { status, output }
}

const NAMES = ['sandbox-volumes-linux-arm64-gnu', 'sandbox-volumes-linux-x64-gnu', 'sandbox-volumes']

test('a release publishes the main package last, and goes on where it stopped', async (t) => {
  const directory = packTree(writeTree(tempDir(t)))
  const registry = await startRegistry(t)

  const dry = await publish(directory, registry, '--dry-run')
  assert.deepEqual([dry.status, registry.order], [0, []], dry.output)
  assert.match(dry.output, /sandbox-volumes@1\.2\.3: is to be published\n.*This was a dry run: nothing is published\./s)

  registry.refuses = (name) => name === NAMES[1]
  const stopped = await publish(directory, registry)
  assert.deepEqual([stopped.status, registry.order], [1, [`${NAMES[0]}@1.2.3 latest`]], stopped.output)
  assert.match(stopped.output, /npm did not publish sandbox-volumes-linux-x64-gnu@1\.2\.3\. What was published stays/)

  registry.refuses = () => false
  const done = await publish(directory, registry)
  assert.deepEqual([done.status, registry.order], [0, NAMES.map((name) => `${name}@1.2.3 latest`)], done.output)
  assert.match(done.output, /linux-arm64-gnu@1\.2\.3: is published already\n/)

  const again = await publish(directory, registry)
  assert.deepEqual([again.status, registry.order.length], [0, 3], again.output)
})

test('a version that is published with other bytes stops a release before it publishes anything', async (t) => {
  const directory = packTree(writeTree(tempDir(t)))
  const registry = await startRegistry(t)
  const dist = { integrity: 'sha512-other', tarball: `${registry.url}x.tgz` }
  const versions = { '1.2.3': { name: NAMES[2], version: '1.2.3', dist } }
  registry.published.set(NAMES[2], { name: NAMES[2], 'dist-tags': { latest: '1.2.3' }, versions })
  const { status, output } = await publish(directory, registry)
  assert.deepEqual([status, registry.order], [1, []], output)
  assert.match(
    output,
    /has sandbox-volumes@1\.2\.3 with sha512-other, .* cannot be replaced: release the next version\./,
  )
})

test('a tarball that is missing, or of another version, is refused', (t) => {
  const directory = packTree(writeTree(tempDir(t)))
  const dist = path.join(directory, 'dist')
  assert.deepEqual(
    packedPackages(directory, dist).map(({ name }) => name),
    NAMES,
  )
  writeTree(directory, { 'package.json': (manifest) => ({ ...manifest, version: '1.2.4' }) })
  assert.throws(
    () => packedPackages(directory, dist),
    /sandbox-volumes-1\.2\.4\.tgz is missing\. Run "npm run package"/,
  )
  writeFileSync(
    path.join(dist, 'sandbox-volumes-1.2.4.tgz'),
    readFileSync(path.join(dist, 'sandbox-volumes-1.2.3.tgz')),
  )
  assert.throws(() => packedPackages(directory, dist), /has sandbox-volumes@1\.2\.3, and not sandbox-volumes@1\.2\.4/)
  const manifest = {
    name: 'sandbox-volumes',
    version: '1.2.4',
    optionalDependencies: { [NAMES[0]]: '1.2.3', [NAMES[1]]: '^1.2.3' },
  }
  pack(directory, 'sandbox-volumes-1.2.4.tgz', manifest)
  assert.throws(
    () => packedPackages(directory, dist),
    /depends on .*arm64-gnu@1\.2\.3, .*x64-gnu@\^1\.2\.3, and not on .*arm64-gnu@1\.2\.3, .*x64-gnu@1\.2\.3\.$/,
  )
  pack(directory, 'sandbox-volumes-1.2.4.tgz', { ...manifest, optionalDependencies: undefined })
  assert.throws(() => packedPackages(directory, dist), /depends on nothing, and not on/)
  writeFileSync(path.join(dist, 'sandbox-volumes-1.2.4.tgz'), 'not a tarball')
  assert.throws(() => packedPackages(directory, dist), /is not a package/)
})

test('a release on GitHub is made once, and brought up to date after that', (t) => {
  const directory = writeTree(tempDir(t))
  copyScripts(directory)
  const log = path.join(directory, 'log')
  const gh = path.join(directory, 'gh')
  writeFileSync(gh, `#!/bin/sh\n[ "$2" = view ] && exit "$VIEW"\necho "$@" >> ${log}\ncat >> ${log}\n`)
  chmodSync(gh, 0o755)
  const run = (view, ...args) => {
    const env = { ...process.env, VIEW: view, PATH: `${directory}:${process.env.PATH}` }
    return spawnSync(process.execPath, [path.join(directory, 'scripts/release/github-release.mjs'), ...args], {
      env,
      encoding: 'utf8',
    })
  }
  const created = 'release create v1.2.3 --verify-tag --title v1.2.3 --notes-file -'
  assert.equal(run('1', 'v1.2.3', '--dry-run').stdout, `gh ${created}\n\n### Added\n\n- A thing.\n`)
  assert.equal(run('1', 'v1.2.3').status, 0)
  assert.equal(run('0', 'v1.2.3').status, 0)
  const body = '### Added\n\n- A thing.'
  assert.equal(readFileSync(log, 'utf8'), `${created}\n${body}release edit v1.2.3 --notes-file -\n${body}`)
  assert.match(run('1', 'v1.2.4').stderr, /no section for the tag "v1\.2\.4"/)
})
