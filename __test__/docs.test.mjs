// The documentation: its programs run, its types are right, its links exist.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { anchorsOf, deadLinks, linksOf, pagesOf, programsOf, readPage } from './docs-pages.mjs'
import { checkTypes, isOptional, run, RUNTIMES, whyOnlyChecked, withoutTypeScript } from './docs-runtimes.mjs'
import { outputOf, root, tempDir } from './support.mjs'

const inCi = process.env.CI === 'true'

const programs = pagesOf(root).flatMap((page) => programsOf(page, readPage(root, page)))

/** Asserts that a program exits with 0, prints nothing to standard error, and prints what its page says. */
async function assertRuns(program, directory) {
  const { stdout, ...ending } = await run(program, directory)
  assert.deepEqual(ending, { code: 0, signal: null, stderr: '' })
  if (program.output !== null) assert.equal(stdout.trimEnd(), program.output.trimEnd())
}

test('every program names runtimes that are known', () => {
  for (const { page, line, needs } of programs) {
    for (const name of needs) assert.ok(name in RUNTIMES, `${page}:${line} needs "${name}"`)
  }
})

test('the types of every program are right', { skip: withoutTypeScript }, (t) => {
  assert.deepEqual(checkTypes(programs, tempDir(t)), [])
})

for (const program of programs.filter(({ runs }) => runs)) {
  const reason = whyOnlyChecked(program)
  const skip = reason === null || (inCi && !isOptional(program)) ? false : `only its types were checked: ${reason}`
  test(`${program.page}:${program.line} runs`, { skip }, async (t) => {
    assert.equal(reason, null)
    await assertRuns(program, tempDir(t))
  })
}

test("README.md's first example prints what the sandbox read, and detaches", {
  skip: whyOnlyChecked({ needs: ['bwrap'] }) !== null && !inCi ? 'bwrap makes no sandbox here' : false,
}, async (t) => {
  assert.equal(whyOnlyChecked({ needs: ['bwrap'] }), null)
  const [, flow] = readFileSync(path.join(root, 'README.md'), 'utf8').match(/^```js\b[^\n]*\n(.*?)^```$/ms)
  const dir = tempDir(t)
  writeFileSync(path.join(dir, 'flow.mjs'), flow)
  mkdirSync(path.join(dir, 'node_modules'))
  symlinkSync(root, path.join(dir, 'node_modules/sandbox-volumes'))
  const home = path.join(dir, 'home')
  // The process still runs when the flow has nothing left to do, so volumes that it did not detach would be in use.
  const stdout = await outputOf(
    `import './flow.mjs'
     import { removeVolume } from 'sandbox-volumes'
     process.once('beforeExit', () => removeVolume('my-data'))`,
    { cwd: dir, env: { MSB_HOME: home } },
  )
  assert.equal(stdout, 'hello')
  assert.ok(existsSync(path.join(home, 'volumes')))
  assert.ok(!existsSync(path.join(home, 'volumes/my-data')))
})

test('every relative link leads to a file, and every anchor to a heading', () => {
  assert.deepEqual(pagesOf(root).flatMap((page) => deadLinks(root, page)), [])
})

test('the pages that other files name are there', () => {
  const { stdout } = spawnSync('git', ['ls-files', '*.ts', '*.js', '*.mjs', '*.rs', '*.toml'], { cwd: root, encoding: 'utf8' })
  const files = ['index.d.ts', ...(stdout ?? '').split('\n').filter((file) => file !== '' && !file.startsWith('__test__/docs'))]
  for (const file of new Set(files.filter((file) => existsSync(path.join(root, file))))) {
    const text = readFileSync(path.join(root, file), 'utf8')
    for (const [named, page, anchor] of text.matchAll(/\bdocs\/([\w-]+\.md)(?:#([\w-]+))?/g)) {
      const at = path.join(root, 'docs', page)
      assert.ok(existsSync(at), `${file} names ${named}, which is not there`)
      if (anchor !== undefined) {
        assert.ok(anchorsOf(readFileSync(at, 'utf8')).has(anchor), `${file} names ${named}, which has no such heading`)
      }
    }
  }
})

test('the pages that README.md and docs/ link to are in the package', () => {
  const { files } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'))
  const shipped = ['README.md', 'LICENSE', 'package.json', ...files]
  for (const page of pagesOf(root).filter((page) => page === 'README.md' || page.startsWith('docs/'))) {
    for (const { line, target } of linksOf(readPage(root, page))) {
      const file = path.posix.join(path.posix.dirname(page), target.split('#', 1)[0] || path.basename(page))
      const present = shipped.some((name) => file === name || file.startsWith(`${name}/`))
      assert.ok(present || !/\.(md|d\.ts)$/.test(file), `${page}:${line} links to ${file}, which is not in "files"`)
    }
  }
})

test('README.md links to every page', () => {
  const linked = new Set(linksOf(readPage(root, 'README.md')).map(({ target }) => target.split('#', 1)[0]))
  assert.deepEqual(pagesOf(root).filter((page) => page !== 'README.md' && !linked.has(page)), [])
})

test('README.md has at most 160 lines, and promises the two commands', () => {
  const readme = readPage(root, 'README.md')
  const { scripts } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'))
  assert.ok(readme.trimEnd().split('\n').length <= 160)
  for (const command of ['npm run quickstart', 'npm test']) {
    assert.ok(readme.includes(command))
    assert.ok(scripts[command.split(' ').at(-1)])
  }
})

// -- Negative controls: the same functions find faults -----------------------------------------------------------------

const IMPORT = "import { createVolume } from 'sandbox-volumes'\n"
const block = (info, source) => `\`\`\`${info}\n${source}\`\`\`\n`
const only = (text) => {
  const found = programsOf('page.md', text)
  assert.equal(found.length, 1)
  return found[0]
}

test('a program that throws, complains, never ends or prints something else is found', async (t) => {
  const runs = async (text) => assertRuns(only(text), tempDir(t))
  await runs(block('js run', `${IMPORT}console.log((await createVolume('v')).name)\n`) + block('text output', 'v\n'))
  await assert.rejects(runs(block('js run', `${IMPORT}await createVolume('no/name')\n`)), /InvalidConfigError/)
  await assert.rejects(runs(block('js run', "console.error('careful')\n")), /careful/)
  await assert.rejects(runs(block('js run', 'await new Promise(() => {})\n')), /code: 13/)
  await assert.rejects(runs(block('js run', "console.log('a')\n") + block('text output', 'b\n')), /'a' !== 'b'/)
  await assert.rejects(runs(block('js run', 'const a = 1\n') + block('js continued', 'a = 2\n')), /TypeError.*constant/)
})

test('a program with a wrong name or type is found, in every flavour', { skip: withoutTypeScript }, (t) => {
  const complaints = (text) => checkTypes(programsOf('page.md', text), tempDir(t)).join('\n')
  assert.equal(complaints(block('ts check', `${IMPORT}await createVolume('v', { quotaMib: 1 })\n`)), '')
  assert.match(complaints(block('ts check', `${IMPORT}await createVolume('v', { quota: 1 })\n`)), /page-md-1\.mts\(3,.*quota/)
  assert.match(complaints(block('js check', `${IMPORT}await createVolumes('v')\n`)), /createVolumes/)
  assert.match(complaints(block('js run needs=bwrap', `${IMPORT}await createVolume(1)\n`)), /number/)
})

test('a block without a flavour, or with an unknown one, is refused', () => {
  for (const info of ['js', 'ts', 'ts run', 'js runs', 'js run fast', 'js check needs=bwrap', 'typescript']) {
    assert.throws(() => programsOf('page.md', block(info, '')), /page\.md:1: .* is no flavour/, info)
  }
  assert.throws(() => programsOf('page.md', block('js continued', '')), /no program precedes/)
  assert.throws(() => programsOf('page.md', block('text output', '')), /no program that runs/)
  assert.throws(() => programsOf('page.md', '```js run\n'), /not closed/)
  assert.deepEqual(programsOf('page.md', block('sh', 'ls\n')), [])
})

test('a link to no file, to no heading and out of the project is found, and no other', (t) => {
  const dir = tempDir(t)
  mkdirSync(path.join(dir, 'docs'))
  writeFileSync(path.join(dir, 'docs/other.md'), '# `Mount` & more\n\n## Twice\n\n## Twice\n\n```sh\n# no heading\n```\n')
  writeFileSync(
    path.join(dir, 'README.md'),
    `# Here
[fine](docs/other.md) [fine](docs/other.md#mount--more) [fine](docs/other.md#twice-1) [fine](#here) [web](https://a.example/)
\`[code](nowhere.md)\`
\`\`\`text
[code](nowhere.md)
\`\`\`
[a](docs/gone.md) [b](docs/other.md#no-heading) [c](#gone) [d](../up.md) [e](docs/other.md#twice-2)
[f]: gone.md
`,
  )
  assert.deepEqual(deadLinks(dir, 'README.md'), [
    'README.md:7: "docs/gone.md" leads nowhere',
    'README.md:7: "docs/other.md#no-heading" names no heading of that page',
    'README.md:7: "#gone" names no heading of that page',
    'README.md:7: "../up.md" leads outside the project',
    'README.md:7: "docs/other.md#twice-2" names no heading of that page',
    'README.md:8: "gone.md" leads nowhere',
  ])
  assert.deepEqual(pagesOf(dir), ['README.md', 'docs/other.md'])
})
