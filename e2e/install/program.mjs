// The source of the program that a row runs, as an ES module, as CommonJS, and as the test of a test runner.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'

const read = (name) => readFileSync(new URL(`programs/${name}`, import.meta.url), 'utf8')
const life = read('life.mjs').replace(/^export /m, '')

const names = '{ VolumeStore, Mount, VolumeNotFoundError }'
const home = 'process.env.VOLUMES_HOME'
const seen = `life(${names}, ${home})`
const print = '.then((seen) => console.log(JSON.stringify(seen)))\n'

/** How the package is imported in each kind of module. */
const IMPORTS = {
  commonjs: `const ${names} = require('sandbox-volumes')`,
  module: `import ${names} from 'sandbox-volumes'`,
}

/** What the program prints. */
const EXPECTED = {
  text: 'hello',
  bytes: [1, 2, 3],
  bubblewrap: ['--bind', 'the volume', '/data'],
  attached: 'ERR_VOLUME_IN_USE',
  gone: 'ERR_VOLUME_NOT_FOUND',
  left: 0,
}

/** An ES module that imports the package by name. */
export const esModule = `${IMPORTS.module}\n${life}\n${seen}${print}`

/** The same for an ES module that exports a function instead of running, for a server's page. */
export const esFunction = `${IMPORTS.module}\n${life}\nexport const run = () => ${seen}\n`

/** A CommonJS module. */
export const commonJs = `${IMPORTS.commonjs}\n${life}\n${seen}${print}`

/** A test of jest or vitest with globals, as CommonJS or as an ES module. Two of them have homes of their own. */
export const testFile = (kind, number) => `${IMPORTS[kind]}
${life}
test('a volume lives', async () => {
  const seen = await life(${names}, ${home} + ${number})
  expect(seen).toEqual(${JSON.stringify(EXPECTED)})
}, 60_000)
`

/** The program in the main thread and in four worker threads at once; each has a home of its own. */
export const workerThreads = `const { Worker, isMainThread, workerData } = require('node:worker_threads')
${IMPORTS.commonjs}
${life}
const run = () => life(${names}, ${home} + (workerData ?? 0))
if (isMainThread) {
  const ended = [1, 2, 3, 4].map((workerData) => new Promise((resolve, reject) => {
    const worker = new Worker(__filename, { workerData })
    worker.on('error', reject).on('exit', resolve)
  }))
  run()${print.trimEnd()}.then(() => Promise.all(ended)).then((codes) => { process.exitCode = Math.max(...codes) })
} else {
  run()${print}}
`

/** Checks the lines that the program printed among other output, of which there must be `count`. */
export function assertLived(stdout, count = 1) {
  const lines = stdout.split('\n').filter((line) => line.startsWith('{"text"'))
  assert.equal(lines.length, count, `the program printed:\n${stdout}`)
  for (const line of lines) {
    assert.deepEqual(JSON.parse(line), EXPECTED)
  }
}

/** A typed program of the folder `programs`. */
export const typed = (name) => read(name)
