// Installs the package as its users do, from a registry on loopback, and runs a program with it in every way that
// docs/install.md names. Options:
//
// - `--quick`: npm, this Node.js, and TypeScript. It downloads nothing.
// - `--only=<words>`: the rows whose title contains the words.
// - `--dist`: takes the tarballs of `dist/` as they are. Otherwise `npm run package` makes them.
// - `--checkout`: packs the checkout, with the addon of `npm run build`.
// - `--update`: writes the results into docs/install.md, if every row passed.
// - `--keep`: keeps the directory of the run.
import path from 'node:path'
import { parseArgs } from 'node:util'
import { startPlainRegistry } from './plain-registry.mjs'
import { publish, startRegistry } from './registry.mjs'
import { environment, makeRow, homeFiles } from './row.mjs'
import { quickRows, rows } from './rows.mjs'
import { update } from './table.mjs'
import { build, tarballs } from './tarballs.mjs'
import { installTools } from './tools.mjs'
import { endAll, run, workDirectory, write } from './work.mjs'

const flag = { type: 'boolean', default: false }
const { values: options } = parseArgs({
  options: { only: { type: 'string' }, quick: flag, dist: flag, checkout: flag, update: flag, keep: flag },
})
const chosen = (options.quick ? quickRows() : rows).filter(
  ({ title }) => options.only === undefined || title.toLowerCase().includes(options.only.toLowerCase()),
)
if (options.update && chosen.length !== rows.length) {
  throw new Error('--update needs a run of all rows')
}

const began = Date.now()
const seconds = (since) => `${((Date.now() - since) / 1000).toFixed(1)} s`
const work = workDirectory()
const cleanUp = () => {
  endAll()
  if (options.keep) {
    console.log(`kept: ${work.root}`)
  } else {
    work.remove()
  }
}
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => {
    cleanUp()
    process.exit(1)
  })
}

/** Publishes the package, and returns what all rows share. */
async function prepare(tools) {
  const { root } = work
  const home = path.join(root, 'publisher')
  const env = environment(tools, root, home)
  if (!options.dist && !options.checkout) {
    console.log('package: npm run package')
    build()
  }
  const npm = (args, rest) => run(tools.node(22), [tools.npm(), ...args], { env, ...rest })
  const files = tarballs({ checkout: options.checkout, directory: path.join(root, 'tarballs') })
  const registry = await (options.quick ? startPlainRegistry(files) : startRegistry(tools, path.join(root, 'registry')))
  if (!options.quick) {
    await publish(tools, registry, files, { cwd: home, env })
  }
  console.log(`registry: ${files.length} packages in it (${seconds(began)})`)

  /** Installs the package once with npm. Rows that are not about a package manager start from a copy. */
  const install = async () => {
    const directory = path.join(root, 'installed')
    write(home, homeFiles(registry).files)
    write(directory, { 'package.json': { name: 'app', private: true } })
    await npm(['install', 'sandbox-volumes', '--loglevel=error'], { cwd: directory })
    return directory
  }
  let installed
  return { tools, registry, root, tarball: files.at(-1), installed: () => (installed ??= install()) }
}

/** The title of a row, with the version of its tool, unless the tools are those of the machine. */
const labelOf = ({ title, version }) => (options.quick ? title : `${title} ${version}`)

/** Runs a row, and returns its faults. */
async function outcome(row, number, shared) {
  const own = makeRow(row, number, shared)
  await own.attempt(row.title, () => row.run(own))
  return own.failures
}

const failed = []
try {
  const shared = await prepare(installTools(options))
  for (const [at, row] of chosen.entries()) {
    const since = Date.now()
    const failures = await outcome(row, at + 1, shared)
    const verdict = failures.length === 0 ? 'passed' : 'FAILED'
    console.log(`[${at + 1}/${chosen.length}] ${labelOf(row)}: ${verdict} (${seconds(since)})`)
    failures.forEach((text) => console.log(text.replace(/^/gm, '    ')))
    if (failures.length > 0) {
      failed.push({ row, failures })
    }
  }
  await shared.registry.stop()
} finally {
  cleanUp()
}

if (failed.length > 0) {
  console.log(`\nfailed:\n${failed.map(({ row }) => `  ${labelOf(row)}`).join('\n')}`)
} else if (options.update) {
  update()
  console.log('\ndocs/install.md and its results are written')
}
const skipped = rows.length - chosen.length
if (skipped > 0) {
  console.log(`\n${skipped} rows were not chosen by ${options.quick ? '--quick' : '--only'}`)
}
console.log(`\nin ${seconds(began)}`)
console.log(`${chosen.length - failed.length} passed, ${failed.length} failed, ${skipped} skipped`)
process.exitCode = failed.length === 0 ? 0 : 1
