// A model of the files of a volume, and the outcome of each method. `tests/suite/volume_fs/model/` is the same for the Rust core,
// written independently.
import { copyTree } from './model-copying.mjs'
import {
  checkText,
  demandsDirectory,
  directory,
  isDirectory,
  isFile,
  isLink,
  namesOf,
  refuse,
  Refused,
  startsWith,
  Tree,
} from './model-tree.mjs'

const NEW_FILE = 0o644
const NEW_DIRECTORY = 0o755
const LINK = 0o777

/** The bits that are removed from the mode of new entries. */
export const UMASK = 0o027

/** The files of a volume, and a directory of the host. */
export class Model {
  volume = new Tree()
  host = new Tree({ isHost: true })

  /**
   * Returns the outcome of a call: a `value`, or a refusal with one of `codes`. With `isHalfway` some of the new
   * entries may exist. With `isOpen` the call overwrites what it reads, so the result depends on the order.
   */
  call({ method, at, to, ...options }) {
    try {
      const done = this.#methods[method](at, to, options)
      return done?.isOutcome ? done : { value: done }
    } catch (error) {
      if (error instanceof Refused) {
        return { codes: error.codes }
      }
      throw error
    }
  }

  /** The methods. */
  #methods = {
    read: (at) => this.#read(at),
    readString: (at) => {
      const content = this.#read(at)
      return Buffer.from(content, 'latin1').toString().includes('\ufffd') ? refuse('EILSEQ') : content
    },
    readStream: (at, _, { start = 0, end = Infinity }) => this.#read(at).slice(start, end + 1),
    write: (at, _, { data, mode }) => this.#write(at, mode, () => data),
    writeString: (at, _, { data, mode }) => this.#write(at, mode, () => data),
    writeStream: (at, _, options) => this.#writeStream(at, options),
    append: (at, _, { data, mode }) => this.#write(at, mode, (old) => old + data),
    mkdir: (at) => this.#mkdir(at),
    remove: (at) => this.#remove(at),
    removeAll: (at) => this.#removeAll(at),
    exists: (at) => this.#exists(at),
    list: (at, _, { recursive }) => this.#list(at, recursive),
    stat: (at, _, { followSymlinks }) => this.#stat(at, followSymlinks),
    rename: (at, to) => this.#rename(at, to),
    copy: (at, to) => copyTree(this.volume, at, this.volume, to, { links: 'keep', directoryMode: 0o1777 }),
    copyIn: (at, to, rules) => copyTree(this.host, at, this.volume, to, { ...rules, directoryMode: 0o1777 }),
    copyOut: (at, to, rules) => copyTree(this.volume, at, this.host, to, { ...rules, directoryMode: 0o777 }),
  }

  #read(text) {
    const { node } = this.volume.found(text)
    return isFile(node) ? node.content : refuse('EISDIR')
  }

  #exists(text) {
    try {
      return this.volume.follow(text).node !== undefined
    } catch (error) {
      return ['ENOENT', 'ENOTDIR'].includes(error.code) ? false : refuse(error.code)
    }
  }

  /** `makes` returns the new content of a file from its old content. */
  #write(text, mode, makes) {
    const { names, node, demanded } = this.volume.follow(text)
    if (isDirectory(node) || (node === undefined && demanded)) {
      refuse('EISDIR')
    }
    const { content, mode: kept } = node ?? { content: '', mode: (mode ?? NEW_FILE) & ~UMASK }
    this.volume.put(names, { mode: kept, content: makes(content) })
  }

  #writeStream(text, { chunks, mode, atomic, append, start, isFinished }) {
    const bytes = chunks.join('')
    const makes = (old) => {
      if (append) {
        return old + bytes
      }
      if (start === undefined) {
        return bytes
      }
      const before = old.slice(0, start).padEnd(bytes === '' ? 0 : start, '\0')
      return before + bytes + old.slice(before.length + bytes.length)
    }
    if (atomic && !isFinished) {
      const { node, demanded } = this.volume.follow(text)
      return isDirectory(node) || (node === undefined && demanded) ? refuse('EISDIR') : undefined
    }
    return this.#write(text, mode, makes)
  }

  /** Creates each directory of the path in order, so that those before a `..` are created too. */
  #mkdir(text) {
    checkText(text)
    const names = namesOf(text)
    if (!this.#makeOne(names.join('/'))) {
      for (let end = 1; end <= names.length; end += 1) {
        this.#makeOne(names.slice(0, end).join('/'))
      }
    }
    const { node } = this.volume.found(text)
    return isDirectory(node) ? undefined : refuse('EEXIST')
  }

  /** Whether the entry exists. It does not if its parent is missing. */
  #makeOne(text) {
    try {
      const { names, node } = this.volume.follow(text, { lastLink: false })
      if (node === undefined) {
        this.volume.put(names, directory(NEW_DIRECTORY & ~UMASK))
      }
      return true
    } catch (error) {
      return error.code === 'ENOENT' ? false : refuse(error.code)
    }
  }

  #remove(text) {
    const names = this.volume.entry(text)
    const node = this.volume.at(names)
    if (node === undefined) {
      refuse('ENOENT')
    } else if (isDirectory(node) && node.entries.size > 0) {
      refuse('ENOTEMPTY')
    } else if (!isDirectory(node) && demandsDirectory(text)) {
      refuse('ENOTDIR')
    }
    this.volume.take(names)
  }

  #removeAll(text) {
    try {
      this.volume.take(this.volume.entry(text))
    } catch (error) {
      if (error.code !== 'ENOENT') {
        throw error
      }
    }
  }

  /** Lists the entries of a directory, then the entries below each. */
  #list(text, recursive) {
    const clean = namesOf(text).map((name) => `${name}/`).join('')
    const listed = []
    const visit = ({ entries }, prefix) => {
      const sorted = [...entries].sort(([one], [other]) => (one < other ? -1 : 1))
      listed.push(...sorted.map(([name, node]) => ({ path: prefix + name, ...seen(node) })))
      for (const [name, node] of recursive ? sorted : []) {
        if (isDirectory(node)) {
          visit(node, `${prefix}${name}/`)
        }
      }
    }
    visit(this.volume.at(this.volume.directory(text)), clean)
    return listed
  }

  #stat(text, followSymlinks) {
    const { node } = this.volume.follow(text, { lastLink: followSymlinks })
    return node === undefined ? refuse('ENOENT') : seen(node)
  }

  /** If both paths are wrong, either may be reported. */
  #rename(from, to) {
    const entries = [from, to].map((text) => {
      try {
        return { names: this.volume.entry(text) }
      } catch ({ code }) {
        return { code }
      }
    })
    const codes = entries.flatMap(({ code }) => code ?? [])
    if (codes.length > 0) {
      refuse(...codes)
    }
    const [old, next] = entries.map(({ names }) => names)
    this.#renameEntry(old, next, [from, to].some(demandsDirectory))
  }

  #renameEntry(old, next, demanded) {
    const [node, there] = [this.volume.at(old), this.volume.at(next)]
    if (node === undefined) {
      refuse('ENOENT')
    } else if (demanded && !isDirectory(node)) {
      refuse('ENOTDIR')
    } else if (node === there) {
      return
    } else if (startsWith(next, old)) {
      refuse('EINVAL')
    } else if (startsWith(old, next)) {
      refuse('ENOTEMPTY')
    } else if (there !== undefined && isDirectory(node) !== isDirectory(there)) {
      refuse(isDirectory(node) ? 'ENOTDIR' : 'EISDIR')
    } else if (there?.entries?.size > 0) {
      refuse('ENOTEMPTY')
    }
    this.volume.take(old)
    this.volume.put(next, node)
  }
}

/** The kind of an entry, and the length of a file or a link. */
function seen(node) {
  if (isLink(node)) {
    return { kind: 'symlink', mode: LINK, size: node.target.length }
  }
  const { mode, content } = node
  return content === undefined ? { kind: 'directory', mode } : { kind: 'file', mode, size: content.length }
}
