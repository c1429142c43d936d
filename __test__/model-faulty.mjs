// Deliberately faulty implementations of the methods of a volume. The model must catch each one. They run only where
// nothing but the directory of the test can be written.
import {
  constants,
  createReadStream,
  createWriteStream,
  existsSync,
  lstatSync,
  promises as byName,
  readlinkSync,
  statSync,
} from 'node:fs'
import path from 'node:path'
import { bytes, entry, text } from './model-replay.mjs'
import { assertReadOnly } from './read-only.mjs'

const latin1 = (at) => (typeof at === 'string' ? at : text(at))

/** How many links Linux follows. */
const MAX_LINKS = 40

/** How many levels are walked, for a tree that leads into itself. */
const MAX_DEPTH = 8

const kindOf = (place) => lstatSync(bytes(place), { throwIfNoEntry: false })

/**
 * Throws for a place that is outside a directory, by its text or by its links, link by link. A missing entry counts
 * as a directory, because a call may create it. Directories on the way may be outside only if they exist.
 */
function holdWithin(home, place) {
  const isWithin = (each) => each.startsWith(`${home}/`)
  const left = () => Object.assign(new Error('it would leave the home'), { code: 'LEFT' })
  if (!isWithin(path.resolve(place))) {
    throw left()
  }
  const names = place.split('/')
  let [at, links] = ['', 0]
  while (names.length > 0) {
    const name = names.shift()
    if (name === '..') {
      at = at.slice(0, Math.max(at.lastIndexOf('/'), 0))
    } else if (name !== '' && name !== '.') {
      const next = `${at}/${name}`
      const kind = kindOf(next)
      if (!kind?.isDirectory() && !isWithin(next)) {
        throw left()
      }
      if (!kind?.isSymbolicLink()) {
        at = next
        continue
      }
      const target = readlinkSync(bytes(next), 'latin1')
      names.unshift(...target.split('/'))
      at = target.startsWith('/') ? '' : at
      links += 1
      if (links > MAX_LINKS) {
        return
      }
    }
  }
  if (!isWithin(at)) {
    throw left()
  }
}

/**
 * Returns methods that join paths and open by name. A call that would leave the home throws instead, which counts
 * as caught.
 */
export function faultyFiles({ root, outside }) {
  assertReadOnly()
  const home = path.dirname(outside)
  const checked = (place) => {
    holdWithin(home, place)
    return bytes(place)
  }
  const join = (at) => checked(`${root}/${latin1(at)}`)
  const entryOf = (found) => {
    const kind = found.isFile() ? 'file' : found.isDirectory() ? 'directory' : 'symlink'
    return entry({ kind, mode: found.mode & 0o7777, size: found.size })
  }
  const isDirectory = (place) => statSync(bytes(place), { throwIfNoEntry: false })?.isDirectory()
  const copy = async (from, to, { filter } = {}, tally = { files: 0, bytes: 0, skippedLinks: 0 }, depth = 0) => {
    const [source, place] = [from, to].map(checked)
    const { mode, size } = await byName.stat(source)
    if (!isDirectory(from)) {
      await byName.copyFile(source, place)
      tally.files += 1
      tally.bytes += size
      return tally
    }
    await byName.mkdir(place, { recursive: true })
    await byName.chmod(place, mode & 0o777)
    for (const name of depth < MAX_DEPTH ? await byName.readdir(source, 'latin1') : []) {
      if (filter?.(bytes(name).toString()) !== false) {
        await copy(`${from}/${name}`, `${to}/${name}`, { filter }, tally, depth + 1)
      }
    }
    return tally
  }
  const list = async (place, prefix, recursive, depth = 0) => {
    const names = (await byName.readdir(checked(place), 'latin1')).sort()
    const found = names.map((name) => {
      const { kind, mode, size } = entryOf(kindOf(`${place}/${name}`))
      return { path: prefix + name, pathBytes: bytes(prefix + name), kind, mode, size }
    })
    for (const name of recursive && depth < MAX_DEPTH ? names : []) {
      if (isDirectory(`${place}/${name}`)) {
        found.push(...(await list(`${place}/${name}`, `${prefix}${name}/`, recursive, depth + 1)))
      }
    }
    return found
  }
  return {
    read: async (at) => byName.readFile(join(at)),
    readString: async (at) => byName.readFile(join(at), 'utf8'),
    readStream: (at, range) => createReadStream(join(at), range),
    write: async (at, content, { mode }) => byName.writeFile(join(at), content, { mode }),
    writeString: async (at, content, { mode }) => byName.writeFile(join(at), content, { mode }),
    writeStream: (at, { mode = 0o644, append, start }) => {
      const flags = append ? 'a' : start === undefined ? 'w' : constants.O_WRONLY | constants.O_CREAT
      return createWriteStream(join(at), { flags, mode, start })
    },
    append: async (at, content, { mode }) => byName.appendFile(join(at), content, { mode }),
    mkdir: async (at) => void (await byName.mkdir(join(at), { recursive: true, mode: 0o755 })),
    remove: async (at) => {
      const place = join(at)
      return kindOf(text(place))?.isDirectory() ? byName.rmdir(place) : byName.unlink(place)
    },
    removeAll: async (at) => byName.rm(join(at), { recursive: true, force: true }),
    exists: async (at) => existsSync(join(at)),
    list: async (at, { recursive }) => list(text(join(at)), at && `${latin1(at)}/`, recursive),
    stat: async (at, { followSymlinks }) => entryOf(await (followSymlinks ? byName.stat : byName.lstat)(join(at))),
    rename: async (from, to) => byName.rename(join(from), join(to)),
    copy: async (from, to) => void (await copy(text(join(from)), text(join(to)))),
    copyIn: async (from, to, options) => copy(from, text(join(to)), options),
    copyOut: async (from, to, options) => copy(text(join(from)), to, options),
  }
}

/** Returns methods of which one is replaced. */
const replacing = (method, other) => (files) =>
  new Proxy(files, {
    get: (_, name) => (name === method ? (...args) => other(files, ...args) : files[name].bind(files)),
  })

function dropping(method, option) {
  return replacing(method, (files, ...args) => {
    const { [option]: _, ...options } = args.pop()
    return files[method](...args, options)
  })
}

const dropped = [
  ...['start', 'end'].map((option) => ['readStream', option]),
  ...['start', 'append', 'atomic', 'mode'].map((option) => ['writeStream', option]),
  ...['write', 'writeString', 'append'].map((method) => [method, 'mode']),
  ['list', 'recursive'],
  ['stat', 'followSymlinks'],
  ...['copyIn', 'copyOut'].flatMap((method) => ['links', 'filter'].map((option) => [method, option])),
]

/** Mistakes that a binding can make: what it does, with which method, and the methods of a volume with it. */
export const mistakes = [
  ...dropped.map(([method, option]) => [`drops ${option}`, method, dropping(method, option)]),
  ['takes a name for text', 'read', replacing('read', (files, at) => files.read(at.toString()))],
  [
    'takes data for text',
    'write',
    replacing('write', (files, at, data, options) => files.write(at, Buffer.from(data.toString()), options)),
  ],
  ['swaps paths', 'rename', replacing('rename', (files, from, to) => files.rename(to, from))],
  ['replaces what is not UTF-8', 'readString', replacing('readString', async (files, at) => `${await files.read(at)}`)],
  [
    'shows names as text',
    'list',
    replacing('list', async (files, ...args) =>
      (await files.list(...args)).map(({ path, kind, mode, size }) => ({ path, kind, mode, size })),
    ),
  ],
  [
    'loses the class of an error',
    'stat',
    replacing('stat', (files, ...args) =>
      files.stat(...args).catch(({ code, message }) => {
        throw Object.assign(new Error(message), { code })
      }),
    ),
  ],
]
