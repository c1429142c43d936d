// Package managers: each installs the package in an empty directory, and Node.js runs the program there.
import assert from 'node:assert/strict'
import { existsSync, readdirSync, rmSync } from 'node:fs'
import path from 'node:path'
import { packageName, targets } from '../../../scripts/package/targets.mjs'
import { ownTarget } from '../tarballs.mjs'

/** Runs the program as an ES module and as CommonJS, with `node` or with a command that starts it. */
async function runBoth(row, node = [row.node(22)]) {
  row.write({ 'program.mjs': row.program.esModule, 'program.cjs': row.program.commonJs })
  for (const file of ['program.mjs', 'program.cjs']) {
    await row.lives(node[0], [...node.slice(1), file])
  }
}

/** Asserts that a package manager installed the addons of these targets: that of this machine, and no other. */
function assertInstalled(directory, expected = [ownTarget]) {
  const names = readdirSync(directory).filter((name) => name.startsWith('sandbox-volumes'))
  const wanted = ['sandbox-volumes', ...expected.map(packageName)]
  assert.deepEqual(names.map((name) => name.split('@')[0]).sort(), wanted.sort())
}

const npm = {
  tool: 'npm',
  write: '`npm install sandbox-volumes`',
  checks: '`import`, `require`, `npm ci`, `--omit=optional` is named',
  async run(row) {
    const modules = path.join(row.directory, 'node_modules')
    await row.npm(['install', 'sandbox-volumes'])
    assertInstalled(modules)
    await runBoth(row)
    await row.npm(['ci'])
    assertInstalled(modules)
    await runBoth(row)
    rmSync(modules, { recursive: true })
    await row.npm(['ci', '--omit=optional'])
    await row.fails(row.node(22), ['program.mjs'], /was not loaded: .* without --omit=optional/)
  },
}

/** pnpm, which is a program of its own since version 12, and JavaScript before. */
const pnpm = (major, command) => ({
  name: `pnpm ${major}`,
  tool: `pnpm-${major}`,
  write: '`pnpm add sandbox-volumes`',
  checks: '`import`, `require`, `--frozen-lockfile`',
  async run(row) {
    const [program, ...script] = command(row)
    const call = (args) => row.run(program, [...script, ...args])
    row.write({ 'package.json': { name: 'app', private: true } })
    await call(['add', 'sandbox-volumes'])
    await runBoth(row)
    rmSync(path.join(row.directory, 'node_modules'), { recursive: true })
    await call(['install', '--frozen-lockfile'])
    assertInstalled(path.join(row.directory, 'node_modules', '.pnpm'))
    await runBoth(row)
  },
})

const ADD = '`yarn add sandbox-volumes`'

const yarn1 = {
  name: 'Yarn 1',
  tool: 'yarn',
  write: ADD,
  checks: '`import`, `require`',
  async run(row) {
    row.write({ 'package.json': { name: 'app', private: true, license: 'MIT' } })
    await row.run(row.node(22), [row.tools.script('yarn'), 'add', 'sandbox-volumes', '--non-interactive'])
    // Yarn 1 does not know the field "libc".
    assertInstalled(path.join(row.directory, 'node_modules'), targets.filter(({ cpu }) => cpu === ownTarget.cpu))
    await runBoth(row)
  },
}

/** What Plug’n’Play needs for the `import` of an application whose package.json has no `"type": "module"`. */
const ESM_LOADER = 'pnpEnableEsmLoader: true'

/** Yarn 4 with one of its linkers. */
const yarn4 = (linker, name, write, config = '') => ({
  name: `Yarn 4, ${name}`,
  tool: '@yarnpkg/cli-dist',
  write,
  checks: '`import`, `require`, `--immutable`',
  async run(row) {
    const yarn = [row.node(22), row.tools.script('@yarnpkg/cli-dist', 'yarn')]
    const call = (args) => row.run(yarn[0], [yarn[1], ...args])
    const files = { 'package.json': { name: 'app', private: true }, 'yarn.lock': '' }
    row.write({ ...files, '.yarnrc.yml': `${row.registry.yarnConfig}nodeLinker: ${linker}\n${config}` })
    await call(['add', 'sandbox-volumes'])
    assert.equal(existsSync(path.join(row.directory, '.pnp.cjs')), linker === 'pnp')
    await runBoth(row, linker === 'pnp' ? [...yarn, 'node'] : undefined)
    await call(['install', '--immutable'])
  },
})

const bun = {
  name: 'bun add',
  tool: 'bun',
  write: '`bun add sandbox-volumes`',
  checks: '`import`, `require`, in Node.js',
  async run(row) {
    row.write({ 'package.json': { name: 'app', private: true } })
    await row.run(row.tools.bun(), ['add', 'sandbox-volumes'])
    assertInstalled(path.join(row.directory, 'node_modules'))
    await runBoth(row)
  },
}

export const managers = {
  area: 'Package managers',
  rows: [
    npm,
    pnpm(10, (row) => [row.node(22), row.tools.script('pnpm-10', 'pnpm')]),
    pnpm(12, (row) => [row.tools.pnpm12()]),
    yarn1,
    yarn4('node-modules', '`node-modules`', ADD),
    yarn4('pnp', 'Plug’n’Play', `${ADD}; for \`import\` also \`${ESM_LOADER}\``, `${ESM_LOADER}\n`),
    bun,
  ],
}
