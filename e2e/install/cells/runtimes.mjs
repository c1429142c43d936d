// Runtimes: ES modules, CommonJS, worker threads, and what each one's permissions need.
import { rmSync } from 'node:fs'
import path from 'node:path'
import { NODES } from '../tools.mjs'

const programs = ({ esModule, commonJs, workerThreads }) => ({
  'program.mjs': esModule,
  'program.cjs': commonJs,
  'workers.cjs': workerThreads,
})

/** Node.js with its permission model: `--permission` since version 22.13. */
const node = (major) => {
  const flag = major < 22 ? '--experimental-permission' : '--permission'
  return {
    name: `Node.js ${major}`,
    tool: `node-${major}`,
    write: `with permissions: \`${flag} --allow-addons --allow-fs-read=<app>\``,
    checks: '`import`, `require`, worker threads, permissions; a missing one is named',
    async run(row) {
      await row.install(programs(row.program))
      const program = row.node(major)
      await row.lives(program, ['program.mjs'])
      await row.lives(program, ['program.cjs'])
      await row.lives(program, ['workers.cjs'], 5)

      const reading = `--allow-fs-read=${row.directory}`
      for (const file of ['program.mjs', 'program.cjs']) {
        await row.lives(program, [flag, '--allow-addons', reading, file])
      }
      await row.lives(program, [flag, '--allow-addons', '--allow-worker', reading, 'workers.cjs'], 5)
      await row.fails(program, [flag, reading, 'program.mjs'], /Start Node\.js with --allow-addons/)
    },
  }
}

const bun = {
  name: 'Bun',
  tool: 'bun',
  write: 'nothing',
  checks: '`import`, `require`, worker threads',
  async run(row) {
    await row.install(programs(row.program))
    await row.lives(row.tools.bun(), ['program.mjs'])
    await row.lives(row.tools.bun(), ['program.cjs'])
    await row.lives(row.tools.bun(), ['workers.cjs'], 5)
  },
}

const PERMISSIONS = ['--allow-ffi', '--allow-read', '--allow-write', '--allow-env', '--allow-sys']

const deno = {
  name: 'Deno',
  tool: 'deno',
  write: '`deno add npm:sandbox-volumes`; run with `--allow-ffi --allow-read --allow-env --allow-sys`',
  checks: '`import`, `require`, worker threads, `node_modules` of npm and of Deno; a missing permission is named',
  async run(row) {
    const program = row.tools.deno()
    const allow = PERMISSIONS.filter((permission) => permission !== '--allow-write')
    const runAll = async () => {
      await row.lives(program, ['run', ...allow, 'program.mjs'])
      await row.lives(program, ['run', ...allow, 'program.cjs'])
      await row.lives(program, ['run', ...allow, 'workers.cjs'], 5)
    }
    await row.install(programs(row.program))
    await runAll()
    await row.fails(program, ['run', '--no-prompt', '--allow-read', '--allow-env', 'program.mjs'], /--allow-ffi/)

    for (const name of ['node_modules', 'package.json']) {
      rmSync(path.join(row.directory, name), { recursive: true })
    }
    // Deno refuses what was published in the last 24 hours.
    await row.run(program, ['add', '--minimum-dependency-age=0', 'npm:sandbox-volumes'])
    await row.lives(program, ['run', ...allow, 'program.mjs'])
  },
}

export const runtimes = { area: 'Runtimes', rows: [...NODES.map(node), bun, deno] }
