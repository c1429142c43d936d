// The tarball of the package, read by the two tools that know what resolvers expect.
const publint = {
  name: 'publint',
  tool: 'publint',
  write: '–',
  checks: 'no finding, with `--strict`',
  async run(row) {
    await row.run(row.node(22), [row.tools.script('publint'), 'run', row.tarball, '--strict'])
  },
}

const attw = {
  name: 'Are the types wrong?',
  tool: '@arethetypeswrong/cli',
  write: '–',
  checks: 'no finding, for `node10`, `node16` from CommonJS and from ES modules, and `bundler`',
  async run(row) {
    await row.run(row.node(22), [row.tools.script('@arethetypeswrong/cli', 'attw'), row.tarball])
  },
}

export const packages = { area: 'The tarball', rows: [publint, attw] }
