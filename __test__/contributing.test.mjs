// The pages for contributors name files, suites and environment variables that exist.
import assert from 'node:assert/strict'
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { root } from './support.mjs'

const read = (file) => readFileSync(path.join(root, file), 'utf8')

/** Returns the section of a page below a heading, without the heading. */
const section = (page, heading) => read(page).split(/^#+ /m).find((text) => text.startsWith(`${heading}\n`)) ?? ''

/** Returns the words in backquotes in the first column of the tables of a text. */
function firstColumn(text) {
  const cells = [...text.matchAll(/^\|([^|]*)\|/gm)].map(([, cell]) => cell)
  return cells.flatMap((cell) => [...cell.matchAll(/`([^`]+)`/g)].map(([, name]) => name))
}

test('the files that the pages name are there', () => {
  let count = 0
  for (const page of ['docs/architecture.md', 'docs/testing.md', 'CONTRIBUTING.md']) {
    const names = [...read(page).matchAll(/(?<![\w/])(?:src|lib|tests|__test__|e2e|examples|scripts|bench|fuzz|npm)\/[\w./-]*\w/g)]
    for (const [name] of names) {
      assert.ok(existsSync(path.join(root, name)), `${page} names ${name}, which is not there`)
    }
    count += names.length
  }
  assert.ok(count >= 40, `${count}`)
})

test('docs/testing.md names every Rust suite, and each is there', () => {
  const named = firstColumn(section('docs/testing.md', 'Rust suites'))
  for (const suite of named) assert.notEqual(filesOf(suite).length, 0, suite)
  const covered = new Set(named.flatMap(filesOf))
  const files = readdirSync(path.join(root, 'tests'), { recursive: true }).map((file) => `tests/${file}`)
  const isShared = /^tests\/suite\/(?:support\/|faulty\/|main\.|crash\/(?:mod|audit|traced|work)\.)/
  const isListOfModules = /^tests\/suite\/(?:\w+\/)*(?:store|volume|volume_fs)\/mod\./
  const suites = files.filter((file) => file.endsWith('.rs') && !isShared.test(file) && !isListOfModules.test(file))
  assert.deepEqual(suites.filter((file) => !covered.has(file)), [])
})

test('a suite that docs/durability-and-crash-safety.md names is there', () => {
  const named = firstColumn(section('docs/durability-and-crash-safety.md', 'Which tests show it'))
  assert.ok(named.length >= 5, `${named}`)
  for (const name of named) assert.notEqual(filesOf(name).length, 0, name)
})

test('the environment variables of docs/testing.md are read where it says', () => {
  const table = section('docs/testing.md', 'Environment variables of long suites')
  const rows = [...table.matchAll(/^\| `(\w+)` \| ([^|]*) \|/gm)]
  assert.ok(rows.length >= 10)
  for (const [, variable, cell] of rows) {
    for (const [, suite] of cell.matchAll(/`([^`]+)`/g)) {
      const own = suite.endsWith('.mjs') ? [suite.includes('/') ? suite : `__test__/${suite}`] : filesOf(suite)
      assert.ok(own.some((file) => read(file).includes(variable)), `${suite} does not read ${variable}`)
    }
  }
})

/** Returns the files of a Rust suite: a binary of its own, or a module of `tests/suite/`. */
function filesOf(suite) {
  const places = [`tests/${suite}`, `tests/suite/${suite.replaceAll('::', '/')}`]
  return places.flatMap((place) => {
    if (existsSync(path.join(root, `${place}.rs`))) return [`${place}.rs`]
    if (!existsSync(path.join(root, place))) return []
    const files = readdirSync(path.join(root, place), { recursive: true }).map((name) => `${place}/${name}`)
    return files.filter((name) => name.endsWith('.rs'))
  })
}

test('the rooms of docs/architecture.md are those that tests/architecture/main.rs allows', () => {
  const rows = [...section('docs/architecture.md', 'Rooms').matchAll(/^\| `(\w+)` \|[^|]*\|([^|]*)\|$/gm)]
  const documented = rows.map(([, room, cell]) => [room, [...cell.matchAll(/`(\w+)`/g)].map(([, used]) => used).sort()])
  const arrows = [...read('tests/architecture/main.rs').matchAll(/^ {4}\("(\w+)", &\[([^\]]*)\]\),$/gm)]
  const allowed = arrows.map(([, room, used]) => [room, [...used.matchAll(/"(\w+)"/g)].map(([, name]) => name).sort()])
  const rooms = new Set(documented.map(([room]) => room))
  const sorted = (table) => table.sort(([a], [b]) => a.localeCompare(b))
  assert.ok(rooms.size >= 8)
  // The other table of that file is of libraries and their rooms. Its first name is not a room.
  assert.deepEqual(sorted(documented), sorted(allowed.filter(([room]) => rooms.has(room) || existsSync(path.join(root, 'src', room)))))
})

test('the types of docs/glossary.md are types of the core', () => {
  const types = [...section('docs/glossary.md', 'For contributors').matchAll(/^\|[^|]*\| `(\w+)` \|/gm)].map(([, type]) => type)
  assert.ok(types.length >= 15)
  const files = readdirSync(path.join(root, 'src'), { recursive: true }).filter((name) => name.endsWith('.rs'))
  const source = files.map((name) => read(path.join('src', name))).join('\n')
  for (const type of types) assert.match(source, new RegExp(`\\b(?:struct|enum|trait) ${type}\\b`), type)
})
