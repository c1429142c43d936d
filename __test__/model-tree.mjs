// A tree in memory, and how paths lead through it. Paths and links are followed name by name, as the kernel does it
// beneath a directory that nothing leads out of.
//
// A directory is `{ mode, entries }` with a Map, a file `{ mode, content }`, a link `{ target }`. Names and contents are
// strings of one character a byte.
const MOST_LINKS = 40

/** Of several codes each may be told. */
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

/** Of the host's tree no model knows what is outside: a path that leads there is refused as `UNKNOWN`. */
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

  /** Where a path leads: the names from the top, what is there, and whether a slash demands a directory. */
  follow(text, { lastLink = true } = {}) {
    checkText(text)
    return this.#walk(text, lastLink)
  }

  /** Follows a path to what is there. */
  found(text) {
    const { names, node } = this.follow(text)
    return node === undefined ? refuse('ENOENT') : { names, node }
  }

  /** Follows a path to a directory that is there; gives its names. */
  directory(text) {
    checkText(text)
    const { names, node } = this.#walk(`${text}/`, true)
    return node === undefined ? refuse('ENOENT') : names
  }

  /** The entry itself that a path names, in the directory that what is before it leads to. */
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
        if (links > MOST_LINKS) {
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

/** What the text of a path says by itself. */
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
