// All rows of the table, in its order.
import { bundlers } from './cells/bundlers.mjs'
import { executables } from './cells/executables.mjs'
import { managers } from './cells/managers.mjs'
import { packages } from './cells/packages.mjs'
import { runtimes } from './cells/runtimes.mjs'
import { testRunners } from './cells/test-runners.mjs'
import { types } from './cells/types.mjs'
import { pinnedVersions } from './tools.mjs'

const versions = pinnedVersions()

/**
 * The rows: `{ area, above, name, tool, version, write, checks, run }`. `above` is the set of tools that a program of
 * the row can import, `write` is what a user writes, `checks` is what `run` does.
 */
export const rows = [managers, runtimes, types, testRunners, bundlers, executables, packages].flatMap(
  ({ area, above, rows }) =>
    rows.map(({ name, tool, ...rest }) => {
      const shown = name ?? tool
      return { area, above, name: shown, tool, version: versions[tool], title: `${area}: ${shown}`, ...rest }
    }),
)

/** Returns the rows that need no download, with the Node.js that runs this. */
export function quickRows() {
  const major = process.versions.node.split('.')[0]
  const tools = ['npm', 'typescript', `node-${major}`]
  return rows.filter(({ area, tool }) => tools.includes(tool) && area !== 'Executables')
}
