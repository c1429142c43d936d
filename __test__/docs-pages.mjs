// Reads the documentation: its code blocks, their flavours, its headings and its links.
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import path from 'node:path'

/** Returns the pages below `root`, keyed by their paths relative to it. */
export function pagesOf(root) {
  const docs = path.join(root, 'docs')
  const names = existsSync(docs) ? readdirSync(docs).filter((name) => name.endsWith('.md')) : []
  const paths = ['README.md', 'CONTRIBUTING.md', 'SECURITY.md', ...names.sort().map((name) => `docs/${name}`)]
  return paths.filter((page) => existsSync(path.join(root, page)))
}

export const readPage = (root, page) => readFileSync(path.join(root, page), 'utf8')

/** Returns every fenced block of a page: `{ line, language, words, text }`, where `words` follow the language. */
export function fencedBlocks(text) {
  const blocks = []
  let open = null
  for (const [at, line] of text.split('\n').entries()) {
    const fence = /^ {0,3}(`{3,}|~{3,})\s*(.*)$/.exec(line)
    if (open !== null && fence?.[1].startsWith(open.fence) && fence[2] === '') {
      blocks.push(open.block)
      open = null
    } else if (open !== null) {
      open.block.text += `${line}\n`
    } else if (fence !== null) {
      const [language = '', ...words] = fence[2].trim().split(/\s+/)
      open = { fence: fence[1], block: { line: at + 1, language, words, text: '' } }
    }
  }
  if (open !== null) {
    throw new Error(`line ${open.block.line}: the block is not closed`)
  }
  return blocks
}

const LANGUAGES = new Map([
  ['js', 'mjs'],
  ['javascript', 'mjs'],
  ['mjs', 'mjs'],
  ['ts', 'mts'],
  ['typescript', 'mts'],
])

/**
 * The programs of a page: `{ page, line, extension, runs, needs, source, output }`. The flavour of a block of JavaScript or
 * TypeScript is in its info string:
 *
 * - `js run`: it runs as a program, and prints nothing to standard error.
 * - `js run needs=bwrap,mount`: it runs if these work, see docs-runtimes.mjs; else only its types are checked.
 * - `js check`, `ts check`: only its types are checked.
 * - `js continued`: it belongs to the program of the block before it.
 * - `text output` after a program: what it prints to standard output.
 */
export function programsOf(page, text) {
  const programs = []
  let last = null
  for (const { line, language, words, text: source } of fencedBlocks(text)) {
    const where = `${page}:${line}`
    const extension = LANGUAGES.get(language)
    const [flavour, ...rest] = words
    if (extension === undefined) {
      if (flavour === 'output') {
        if (last === null || !last.runs) throw new Error(`${where}: no program that runs precedes this output`)
        last.output = (last.output ?? '') + source
      }
      continue
    }
    const needs = rest.filter((word) => word.startsWith('needs=')).flatMap((word) => word.slice(6).split(','))
    const known = flavour === 'run' ? extension === 'mjs' : flavour === 'check' || flavour === 'continued'
    if (!known || rest.some((word) => !word.startsWith('needs=')) || (needs.length > 0 && flavour !== 'run')) {
      throw new Error(`${where}: "${[language, ...words].join(' ')}" is no flavour of a block`)
    }
    if (flavour === 'continued') {
      if (last?.extension !== extension) throw new Error(`${where}: no program precedes this block`)
      // Line numbers in messages count from the first line of the page.
      last.source += '\n'.repeat(Math.max(line - lines(last.source), 0)) + source
    } else {
      const padded = '\n'.repeat(line) + source
      last = { page, line, extension, runs: flavour === 'run', needs, source: padded, output: null }
      programs.push(last)
    }
  }
  return programs
}

const lines = (text) => text.split('\n').length - 1

/** Returns the text with its code blanked, at the same length. */
function prose(text) {
  const blank = (code) => code.replace(/[^\n]/g, ' ')
  return text.replace(/^ {0,3}(`{3,}|~{3,}).*\n[^]*?^ {0,3}\1[`~]*[ \t]*$/gm, blank).replace(/(`+)(?!`)[^]*?[^`]\1(?!`)/g, blank)
}

/** Returns the anchors of a page, as GitHub creates them from its headings. */
export function anchorsOf(text) {
  const anchors = new Set()
  const outsideFences = text.replace(/^ {0,3}(`{3,}|~{3,}).*\n[^]*?^ {0,3}\1[`~]*[ \t]*$/gm, '')
  for (const [, heading] of outsideFences.matchAll(/^ {0,3}#{1,6}[ \t]+(.*?)[ \t]*#*$/gm)) {
    const plain = heading.replace(/!?\[([^\]]*)\]\([^)]*\)/g, '$1').toLowerCase()
    const slug = plain.replace(/[^\p{L}\p{M}\p{N}_\- ]/gu, '').replaceAll(' ', '-')
    let anchor = slug
    for (let count = 1; anchors.has(anchor); count += 1) anchor = `${slug}-${count}`
    anchors.add(anchor)
  }
  for (const [, id] of prose(text).matchAll(/<a\s+(?:id|name)="([^"]+)"/g)) anchors.add(id)
  return anchors
}

/** Returns the links of a page within the project: `{ line, target }`. */
export function linksOf(text) {
  const inline = /!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(\s*<?([^)\s>]*)>?(?:\s+"[^"]*")?\s*\)/g
  const reference = /^ {0,3}\[[^\]]+\]:\s*<?([^\s>]+)>?/gm
  const html = /<(?:a|img)\s[^>]*(?:href|src)="([^"]+)"/g
  const found = prose(text)
  return [inline, reference, html]
    .flatMap((pattern) => [...found.matchAll(pattern)])
    .map(({ index, 1: target }) => ({ line: lines(found.slice(0, index)) + 1, target }))
    .filter(({ target }) => !/^[a-z][a-z0-9+.-]*:/i.test(target))
}

/** Returns the faults of the links of a page, one line each. */
export function deadLinks(root, page) {
  const text = readPage(root, page)
  return linksOf(text).flatMap(({ line, target }) => {
    const [file, anchor] = target.split('#', 2)
    const dead = (why) => [`${page}:${line}: "${target}" ${why}`]
    const at = file === '' ? path.join(root, page) : path.resolve(root, path.dirname(page), decodeURIComponent(file))
    if (file.startsWith('/') || path.relative(root, at).startsWith('..')) return dead('leads outside the project')
    if (!existsSync(at)) return dead('leads nowhere')
    if (anchor === undefined || !at.endsWith('.md')) return []
    return anchorsOf(readFileSync(at, 'utf8')).has(anchor) ? [] : dead('names no heading of that page')
  })
}
