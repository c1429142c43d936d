// Publishes the packages of dist/, as far as the registry does not have them.
import path from 'node:path'
import { fail, readArguments, root } from './cli.mjs'
import { assertNpm, packedPackages, publishPackages, ReleaseError } from './publish-packages.mjs'

const usage = 'node scripts/release/publish.mjs [--dry-run] [--provenance] [--registry <url>] [--dist <directory>]'
const { values } = readArguments(
  usage,
  {
    'dry-run': { type: 'boolean', default: false },
    provenance: { type: 'boolean', default: false },
    registry: { type: 'string' },
    dist: { type: 'string', default: path.join(root, 'dist') },
  },
  0,
)

try {
  if (values.provenance) {
    assertNpm()
  }
  await publishPackages(packedPackages(root, path.resolve(values.dist)), {
    dryRun: values['dry-run'],
    provenance: values.provenance,
    registry: values.registry,
    waitSeconds: 300,
    log: (line) => console.log(line),
  })
} catch (error) {
  if (error instanceof ReleaseError) fail(error.message)
  throw error
}
