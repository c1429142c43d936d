// A volume's files as they should be: a tree in memory, and what each method makes of it. Paths and links are followed
// name by name, as the kernel does it beneath a directory that nothing leads out of. `tests/model/tree.rs` is the same
// for the Rust core, written apart from this one.
//
// A directory is a Map, a file a string, a link `{ target }`. Names are one character a byte.

const MOST_LINKS = 40

class Refused extends Error {
  constructor(code) {
    super(code)
    this.code = code
  }
}

function refuse(code) {
  throw new Refused(code)
}

export const isDirectory = (node) => node instanceof Map
const isLink = (node) => typeof node === 'object' && 'target' in node && !isDirectory(node)
const isFile = (node) => typeof node === 'string'
const namesOf = (text) => text.split('/').filter((name) => name !== '' && name !== '.')
const demandsDirectory = (text) => text.endsWith('/') || text.endsWith('/.')

export class Model {
  root = new Map()

  /** What a method gives, or the code that it is refused with. */
  call(method, text, content) {
    try {
      return { value: this.#run(method, text, content) }
    } catch (error) {
      if (error instanceof Refused) {
        return { code: error.code }
      }
      throw error
    }
  }

  /** One line a method. */
  #run(method, text, content) {
    checkText(text)
    switch (method) {
      case 'read':
      case 'readString':
        return this.#read(text)
      case 'write':
      case 'writeString':
      case 'writeAtomic':
        return this.#write(text, content)
      case 'mkdir':
        return this.#mkdir(text)
      case 'remove':
        return this.#remove(text)
      case 'removeAll':
        return this.#removeAll(text)
      case 'exists':
        return this.#exists(text)
      default:
        throw new TypeError(`no method ${method}`)
    }
  }

  at(names) {
    return names.reduce((node, name) => (isDirectory(node) ? node.get(name) : undefined), this.root)
  }

  put(names, node) {
    this.at(names.slice(0, -1)).set(names.at(-1), node)
  }

  #read(text) {
    const { node } = this.#follow(text)
    if (node === undefined) {
      refuse('ENOENT')
    }
    return isFile(node) ? node : refuse('EISDIR')
  }

  #exists(text) {
    try {
      return this.#follow(text).node !== undefined
    } catch (error) {
      if (['ENOENT', 'ENOTDIR'].includes(error.code)) {
        return false
      }
      throw error
    }
  }

  #write(text, content) {
    const { names, node, directory } = this.#follow(text)
    if (isDirectory(node) || (node === undefined && directory)) {
      refuse('EISDIR')
    }
    this.put(names, content)
  }

  /** Each directory on the way in turn, so that those before a `..` are made as well. */
  #mkdir(text) {
    const names = namesOf(text)
    if (!this.#makeOne(names.join('/'))) {
      for (let end = 1; end <= names.length; end += 1) {
        this.#makeOne(names.slice(0, end).join('/'))
      }
    }
    const { node } = this.#follow(text)
    if (!isDirectory(node)) {
      refuse(node === undefined ? 'ENOENT' : 'EEXIST')
    }
  }

  /** Whether it is there now; not where what is above it is missing. */
  #makeOne(text) {
    try {
      const { names, node } = this.#follow(text, { lastLink: false })
      if (node === undefined) {
        this.put(names, new Map())
      }
      return true
    } catch (error) {
      return error.code === 'ENOENT' ? false : refuse(error.code)
    }
  }

  #remove(text) {
    const names = this.#entry(text)
    const node = this.at(names)
    if (node === undefined) {
      refuse('ENOENT')
    } else if (isDirectory(node) && node.size > 0) {
      refuse('ENOTEMPTY')
    } else if (!isDirectory(node) && demandsDirectory(text)) {
      refuse('ENOTDIR')
    }
    this.#take(names)
  }

  #removeAll(text) {
    try {
      this.#take(this.#entry(text))
    } catch (error) {
      if (error.code !== 'ENOENT') {
        throw error
      }
    }
  }

  #take(names) {
    this.at(names.slice(0, -1)).delete(names.at(-1))
  }

  /** The entry itself that a path names, in the directory that what is before it leads to. */
  #entry(text) {
    const names = namesOf(text)
    const name = names.pop() ?? '..'
    if (name === '..') {
      refuse('ERR_INVALID_CONFIG')
    }
    const holder = this.#follow(`${names.join('/')}/`)
    return holder.node === undefined ? refuse('ENOENT') : [...holder.names, name]
  }

  /** Where a path leads: the names from the root, and what is there. */
  #follow(text, { lastLink = true } = {}) {
    let directory = demandsDirectory(text)
    let left = namesOf(text)
    const names = []
    for (let links = 0; left.length > 0; ) {
      const name = left.shift()
      if (name === '..') {
        if (names.pop() === undefined) {
          refuse('ERR_PATH_ESCAPE')
        }
        continue
      }
      names.push(name)
      const node = this.at(names)
      const isLast = left.length === 0
      if (node === undefined) {
        return isLast ? { names, node, directory } : refuse('ENOENT')
      }
      if (isLink(node) && (lastLink || directory || !isLast)) {
        links += 1
        if (links > MOST_LINKS) {
          refuse('ELOOP')
        }
        if (node.target.startsWith('/')) {
          refuse('ERR_PATH_ESCAPE')
        }
        directory ||= isLast && demandsDirectory(node.target)
        names.pop()
        left = [...namesOf(node.target), ...left]
      } else if (isFile(node) && (directory || !isLast)) {
        refuse('ENOTDIR')
      }
    }
    return { names, node: this.at(names), directory }
  }
}

/** What the text of a path says by itself. */
function checkText(text) {
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
