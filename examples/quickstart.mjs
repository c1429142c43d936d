// Shows the life of a volume: create, seed, list, attach to a real sandbox, read it in every other runtime of this
// machine, detach, remove. It works in a temporary home and leaves nothing.
//
//     npm run quickstart
//     node examples/quickstart.mjs --runtime=bubblewrap    (or runc, unshare, none)
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { Mount, VolumeInUseError, VolumeStore } from '../index.js'
import { answer, line, step, table, title } from './print.mjs'
import * as bubblewrap from './sandboxes/bubblewrap.mjs'
import { choose, names } from './sandboxes/choose.mjs'
import { lookInOthers } from './sandboxes/every-other.mjs'
import { launch } from './sandboxes/launch.mjs'
import { seed } from './seed.mjs'

const SOURCES = fileURLToPath(new URL('../src', import.meta.url))

/** Commands for the sandbox, and whether each must succeed. */
const COMMANDS = [
  ['find /data -type f | wc -l', true],
  ['head -n 3 /data/lib.rs', true],
  ['echo oops > /data/lib.rs', false],
  ['cp /data/lib.rs /scratch && wc -l /scratch/lib.rs', true],
]

async function quickstart(sandbox, home) {
  title(`The life of a volume, ${sandbox ? `with ${sandbox.name}` : 'without a sandbox'}`)
  const store = await VolumeStore.open({ home })

  step('Create a volume')
  const volume = await store.createVolume('sources', { quotaMib: 64, labels: { project: 'quickstart' } })
  line(volume.path)

  step("Seed it with this project's own src/")
  const started = performance.now()
  const { files, bytes } = await seed(volume.fs(), SOURCES)
  line(`${files} files, ${bytes.toLocaleString('en')} bytes, in ${Math.ceil(performance.now() - started)} ms`)

  step('List what there is')
  const listed = await store.listVolumes()
  table([
    ['NAME', 'USED', 'QUOTA', 'LABELS'],
    ...listed.map(({ name, usedBytes, quotaMib, labels }) => [
      name,
      `${usedBytes / 1024} KiB`,
      `${quotaMib} MiB`,
      Object.entries(labels).map((label) => label.join('=')).join(),
    ]),
  ])

  step('Attach it read-only at /data, with 16 MiB of memory at /scratch')
  const attachment = await store.attach('quickstart', {
    '/data': Mount.named('sources', { readonly: true, nosuid: true, nodev: true }),
    '/scratch': Mount.tmpfs({ sizeMib: 16 }),
  })
  const { name, render, show, command } = sandbox ?? bubblewrap
  const mounts = render(attachment)
  line(`For ${name}:`)
  show(mounts).forEach((part) => line(`  ${part}`))

  if (sandbox === null) {
    step('Run commands in a sandbox: left out, for none works here or none was wanted. They would have been')
    COMMANDS.forEach(([script]) => line(`bwrap … the arguments above … /bin/sh -c '${script}'`))
    line('On Debian, "apt install bubblewrap" brings a sandbox.')
  } else {
    step(`Run commands in ${name}; its output follows the bar`)
    for (const [script, possible] of COMMANDS) {
      const result = launch(command(mounts, script))
      answer(script, result)
      if (possible !== (result.status === 0)) {
        throw new Error(`The sandbox was to ${possible ? 'carry out' : 'refuse'} this command: ${script}`)
      }
    }
  }

  if (sandbox !== null) {
    step('Look at the same volume in every other runtime of this machine')
    table(await lookInOthers(sandbox, attachment, 'wc -l /data/lib.rs'))
  }

  step('Try to remove it while it is attached')
  await volume.remove().then(
    () => {
      throw new Error('An attached volume was removed')
    },
    (error) => {
      if (!(error instanceof VolumeInUseError)) {
        throw error
      }
      line(`${error.name}: ${error.message}`)
    },
  )

  step('Detach, then remove it')
  await attachment.detach()
  await volume.remove()
  line(`${(await store.listVolumes()).length} volumes are left.`)
}

async function main() {
  const { runtime } = parseArgs({ options: { runtime: { type: 'string' } } }).values
  const sandbox = choose(runtime)
  const home = await mkdtemp(join(tmpdir(), 'sandbox-volumes-quickstart-'))
  try {
    await quickstart(sandbox, home)
  } finally {
    await rm(home, { recursive: true, force: true })
  }
  const others = names.filter((name) => name !== sandbox?.name).join(', ')
  console.log(`\nNext: the flow in README.md, in a program of yours. Or --runtime= one of ${others}.`)
}

await main().catch((error) => {
  console.error(`\n${error.message}`)
  process.exitCode = 1
})
