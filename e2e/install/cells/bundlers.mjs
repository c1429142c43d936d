// Bundlers: the package stays external, because a bundler cannot put a native addon into JavaScript.
import path from 'node:path'

/** Bundles `program.mjs` with a tool and its configuration, and runs the output beside `node_modules`. */
const bundler = ({ name, tool, write, config = {}, command, output, checks = 'the output runs' }) => ({
  name,
  tool,
  write,
  checks,
  async run(row) {
    await row.install({ 'program.mjs': row.program.esModule, ...config })
    await command(row)
    for (const file of output) {
      await row.lives(row.node(22), [file])
    }
  },
})

const esbuild = bundler({
  name: 'esbuild',
  tool: 'esbuild',
  write: "`external: ['sandbox-volumes']`",
  config: {
    'build.cjs': `const { build } = require('esbuild')
const options = { entryPoints: ['program.mjs'], bundle: true, platform: 'node', external: ['sandbox-volumes'] }
build({ ...options, format: 'cjs', outfile: 'out/program.cjs' })
build({ ...options, format: 'esm', outfile: 'out/program.mjs' })
`,
  },
  command: (row) => row.run(row.node(22), ['build.cjs']),
  output: ['out/program.cjs', 'out/program.mjs'],
  checks: 'the outputs `cjs` and `esm` run',
})

const rollup = bundler({
  name: 'Rollup',
  tool: 'rollup',
  write: "`external: ['sandbox-volumes']`",
  config: {
    'rollup.config.mjs': `export default {
  input: 'program.mjs',
  external: ['sandbox-volumes'],
  output: [
    { file: 'out/program.cjs', format: 'cjs' },
    { file: 'out/program.mjs', format: 'es' },
  ],
}
`,
  },
  command: (row) => row.run(row.node(22), [row.tools.script('rollup'), '--config', '--failAfterWarnings']),
  output: ['out/program.cjs', 'out/program.mjs'],
  checks: 'the outputs `cjs` and `es` run',
})

const webpack = bundler({
  name: 'webpack',
  tool: 'webpack',
  write: "`externals: { 'sandbox-volumes': 'commonjs sandbox-volumes' }`",
  config: {
    'build.cjs': `require('webpack')({
  mode: 'production',
  target: 'node',
  context: __dirname,
  entry: './program.mjs',
  externals: { 'sandbox-volumes': 'commonjs sandbox-volumes' },
  output: { path: __dirname + '/out', filename: 'program.cjs' },
}, (error, stats) => {
  const failed = error ?? (stats.hasErrors() || stats.hasWarnings() ? stats.toString() : null)
  if (failed !== null) throw new Error(failed)
})
`,
  },
  command: (row) => row.run(row.node(22), ['build.cjs']),
  output: ['out/program.cjs'],
})

const vite = bundler({
  name: 'Vite, SSR',
  tool: 'vite',
  write: "nothing; with `ssr.noExternal: true` also `ssr.external: ['sandbox-volumes']`",
  config: {
    'all.config.mjs': "export default { ssr: { noExternal: true, external: ['sandbox-volumes'] } }\n",
  },
  async command(row) {
    const build = ['build', '--ssr', 'program.mjs', '--logLevel=warn']
    await row.run(row.node(22), [row.tools.script('vite'), ...build, '--outDir=out'])
    await row.run(row.node(22), [row.tools.script('vite'), ...build, '--outDir=out-all', '--config=all.config.mjs'])
  },
  output: ['out/program.mjs', 'out-all/program.mjs'],
  checks: 'both outputs run',
})

const LAYOUT = `import { createElement } from 'react'
export default ({ children }) => createElement('html', null, createElement('body', null, children))
`

/** A page of Next.js that runs the program when it is asked for, from a built and started server. */
const next = (name, args) => ({
  name: `Next.js, ${name}`,
  tool: 'next',
  write: "`serverExternalPackages: ['sandbox-volumes']`",
  checks: 'a built server answers a request',
  async run(row) {
    // Turbopack refuses a link out of the application.
    await row.run('/bin/cp', ['-a', path.join(row.tools.set('next'), 'node_modules'), row.directory])
    await row.install({
      'package.json': { name: 'app', private: true, type: 'module' },
      'next.config.js': "export default { serverExternalPackages: ['sandbox-volumes'] }\n",
      'app/layout.js': LAYOUT,
      'app/life/route.js': `${row.program.esFunction}
export const dynamic = 'force-dynamic'
export const GET = async () => new Response(JSON.stringify(await run()) + '\\n')
`,
      'app/page.js': 'export default () => null\n',
    })
    const script = path.join(row.directory, 'node_modules', 'next', 'dist', 'bin', 'next')
    await row.run(row.node(22), [script, 'build', ...args])
    await row.serves(row.node(22), [script, 'start', '--hostname=127.0.0.1', '--port=0'], '/life')
  },
})

export const bundlers = {
  area: 'Bundlers',
  above: 'full',
  rows: [esbuild, rollup, webpack, vite, next('Turbopack', []), next('webpack', ['--webpack'])],
}
