// A tree in memory, and the resolution of paths in it. Paths and links are followed name by name, like the kernel
// beneath a directory that nothing leads out of.
//
// A directory is `{ mode, entries }` with a Map, a file `{ mode, content }`, a link `{ target }`. Names and
// contents are strings with one character per byte.
const MAX_LINKS = 40

/** Throws a refusal. If there are several codes, each is allowed. */
export class Refused extends Error {
  constructor(codes) {
    super(codes[0])
    this.code = codes[0]
    this.codes = codes
  }
}

export function refuse(...codes) {
  throw new Refused(codes)
}

export const directory = (mode) => ({ mode, entries: new Map() })
export const isDirectory = (node) => node?.entries !== undefined
export const isLink = (node) => node?.target !== undefined
export const isFile = (node) => node?.content !== undefined
export const namesOf = (text) => text.split('/').filter((name) => name !== '' && name !== '.')
export const demandsDirectory = (text) => text.endsWith('/') || text.endsWith('/.')
export const startsWith = (names, others) => others.every((name, at) => names[at] === name)

/** The model does not know the host outside of its tree: a path that leads there is refused as `UNKNOWN`. */
export class Tree {
  top = directory(0o755)

  constructor({ isHost = false } = {}) {
    this.isHost = isHost
  }

  at(names) {
    return names.reduce((node, name) => (isDirectory(node) ? node.entries.get(name) : undefined), this.top)
  }

  put(names, node) {
    if (names.length === 0) {
      this.top = node
    } else {
      this.at(names.slice(0, -1)).entries.set(names.at(-1), node)
    }
  }

  take(names) {
    this.at(names.slice(0, -1)).entries.delete(names.at(-1))
  }

  /** Resolves a path: the names from the top, the node, and whether a slash demands a directory. */
  follow(text, { lastLink = true } = {}) {
    checkText(text)
    return this.#walk(text, lastLink)
  }

  /** Resolves a path to an existing node. */
  found(text) {
    const { names, node } = this.follow(text)
    return node === undefined ? refuse('ENOENT') : { names, node }
  }

  /** Resolves a path to an existing directory. Returns its names. */
  directory(text) {
    checkText(text)
    const { names, node } = this.#walk(`${text}/`, true)
    return node === undefined ? refuse('ENOENT') : names
  }

  /** Resolves a path to the entry itself, in the directory to which the rest of the path leads. */
  entry(text) {
    checkText(text)
    const names = namesOf(text)
    const name = names.pop() ?? '..'
    if (name === '..') {
      refuse('ERR_INVALID_CONFIG')
    }
    return [...this.directory(names.join('/')), name]
  }

  #leave() {
    refuse(this.isHost ? 'UNKNOWN' : 'ERR_PATH_ESCAPE')
  }

  #walk(text, lastLink) {
    let demanded = demandsDirectory(text)
    let left = namesOf(text)
    const names = []
    for (let links = 0; left.length > 0; ) {
      const name = left.shift()
      if (name === '..') {
        if (names.pop() === undefined) {
          this.#leave()
        }
        continue
      }
      names.push(name)
      const node = this.at(names)
      const isLast = left.length === 0
      if (node === undefined) {
        return isLast ? { names, node, demanded } : refuse('ENOENT')
      }
      if (isLink(node) && (lastLink || demanded || !isLast)) {
        links += 1
        if (links > MAX_LINKS) {
          refuse('ELOOP')
        }
        if (node.target.startsWith('/')) {
          this.#leave()
        }
        demanded ||= isLast && demandsDirectory(node.target)
        names.pop()
        left = [...namesOf(node.target), ...left]
      } else if (isFile(node) && (demanded || !isLast)) {
        refuse('ENOTDIR')
      }
    }
    return { names, node: this.at(names), demanded }
  }
}

/** The parts of a path, by its text only. */
export function checkText(text) {
  if (text.startsWith('/')) {
    refuse('ERR_PATH_ESCAPE')
  }
  let depth = 0
  for (const name of namesOf(text)) {
    depth += name === '..' ? -1 : 1
    if (depth < 0) {
      refuse('ERR_PATH_ESCAPE')
    }
  }
}
