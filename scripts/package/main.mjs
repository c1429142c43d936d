// Builds, checks and packs the packages: "npm run package", or "npm run package -- --only linux-x64-gnu".
import { statSync } from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { buildAddon } from './build.mjs'
import { checkAddon } from './check.mjs'
import { packAll, removeOld } from './pack.mjs'
import { progress } from './run.mjs'
import { rustFor } from './rust.mjs'
import { addonFile, distDir, root, selectTargets, targets } from './targets.mjs'
import { fetchTools } from './tools.mjs'

const usage = `Usage: npm run package -- [options]

Builds the addons into npm/<platform>/, checks them, and packs all packages into dist/.

  --only <platform>  Build and pack this platform and the main package only. May be repeated.
                     Platforms: ${targets.map(({ platform }) => platform).join(', ')}
  --no-rustup        Do not let rustup add targets to the Rust toolchain.
  --help             Print this.
`

function main() {
  const { values } = parseArgs({
    options: {
      only: { type: 'string', multiple: true },
      'no-rustup': { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) {
    console.log(usage)
    return
  }
  const selected = selectTargets(values.only)
  removeOld()
  const tools = fetchTools()
  for (const target of selected) {
    const rust = rustFor(target, { rustup: !values['no-rustup'] })
    progress(`${target.platform}: building with ${rust.name}`)
    buildAddon(target, rust, tools)
    const faults = checkAddon(addonFile(target), target)
    if (faults.length > 0) {
      throw new Error(`${path.relative(root, addonFile(target))} may not be packed:\n${faults.join('\n')}`)
    }
    progress(`${target.platform}: ${(statSync(addonFile(target)).size / 1e6).toFixed(2)} MB, all checks pass`)
  }
  progress('Packing')
  for (const file of packAll(selected)) console.log(`  ${path.relative(root, file)}`)
  progress(`Done. The packages are in ${path.relative(root, distDir)}/`)
}

try {
  main()
} catch (error) {
  console.error(`\n${error.message}`)
  if (error.cause !== undefined) console.error(error.cause.message)
  process.exitCode = 1
}
