// Test runners: two test files in each kind of process or thread that the runner has.
const files = (program, kind, name) => ({
  [name(1)]: program.testFile(kind, 1),
  [name(2)]: program.testFile(kind, 2),
})

const jest = (name, args) => ({
  name: `jest, ${name}`,
  tool: 'jest',
  write: 'nothing',
  checks: `\`jest ${args.join(' ')}\`, two files`,
  async run(row) {
    await row.install({
      ...files(row.program, 'commonjs', (number) => `life${number}.test.js`),
      'jest.config.cjs': "module.exports = { testEnvironment: 'node', transform: {} }\n",
    })
    const { stderr } = await row.run(row.node(22), [row.tools.script('jest'), '--config=jest.config.cjs', ...args])
    row.contains(stderr, /Tests: +2 passed, 2 total/)
  },
})

const vitest = (pool) => ({
  name: `vitest, \`${pool}\``,
  tool: 'vitest',
  write: 'nothing',
  checks: `\`vitest run --pool=${pool}\`, two files`,
  async run(row) {
    await row.install(files(row.program, 'module', (number) => `life${number}.test.mjs`))
    const args = ['run', `--pool=${pool}`, '--globals', '--root=.', '--reporter=verbose']
    const { stdout } = await row.run(row.node(22), [row.tools.script('vitest'), ...args])
    row.contains(stdout, /Tests +2 passed \(2\)/)
  },
})

export const testRunners = {
  area: 'Test runners',
  above: 'full',
  rows: [
    jest('processes', ['--maxWorkers=2']),
    jest('threads', ['--maxWorkers=2', '--workerThreads']),
    jest('in one process', ['--runInBand']),
    ...['forks', 'threads', 'vmForks', 'vmThreads'].map(vitest),
  ],
}
