// TypeScript: every strict option, without `skipLibCheck`, in each module resolution. The output runs.
const STRICT = {
  strict: true,
  exactOptionalPropertyTypes: true,
  noUncheckedIndexedAccess: true,
  noPropertyAccessFromIndexSignature: true,
  noImplicitOverride: true,
  isolatedModules: true,
  skipLibCheck: false,
  target: 'es2022',
  lib: ['es2022'],
  types: ['node'],
  outDir: 'out',
}

/** The module settings that a program is compiled with, and its files. */
const SETTINGS = {
  nodenext: [{ module: 'nodenext', moduleResolution: 'nodenext', verbatimModuleSyntax: true }, ['app.mts', 'app.cts']],
  node16: [{ module: 'node16', moduleResolution: 'node16', verbatimModuleSyntax: true }, ['app.mts', 'app.cts']],
  bundler: [{ module: 'esnext', moduleResolution: 'bundler', verbatimModuleSyntax: true }, ['app.mts']],
}

const compiler = (tool, major) => ({
  name: `TypeScript ${major}`,
  tool,
  write: '`npm install --save-dev @types/node`',
  checks: '`nodenext`, `node16`, `bundler`; ES module and CommonJS; all strict options, no `skipLibCheck`',
  async run(row) {
    const tsc = row.tools.script(tool, 'tsc')
    await row.install({ 'app.mts': row.program.typed('app.mts'), 'app.cts': row.program.typed('app.cts') })
    for (const [name, [settings, files]] of Object.entries(SETTINGS)) {
      row.write({ 'tsconfig.json': { compilerOptions: { ...STRICT, ...settings }, files } })
      await row.attempt(name, async () => {
        await row.run(row.node(22), [tsc, '--project', 'tsconfig.json'])
        for (const file of files) {
          await row.lives(row.node(22), [`out/${file.replace('ts', 'js')}`])
        }
      })
    }
  },
})

export const types = {
  area: 'TypeScript',
  above: 'checkout',
  rows: [compiler('typescript-5', '5.9'), compiler('typescript', '7.0')],
}
