// Random calls of the methods of a volume, for the model and for the real volume.
import { once } from 'node:events'
import path from 'node:path'
import { buffer } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import fc from 'fast-check'

/** Names and contents have one character per byte, so that they need not be UTF-8. */
export const bytes = (text) => Buffer.from(text, 'latin1')
export const text = (buffer) => Buffer.from(buffer).toString('latin1')

export const name = fc.constantFrom('a', 'b', 'c\xff')
const odd = fc.constantFrom('..', '.', '')
const weighted = (...pairs) => fc.oneof(...pairs.map(([weight, arbitrary]) => ({ weight, arbitrary })))
const named = (maxLength) => fc.array(weighted([6, name], [1, odd]), { minLength: 1, maxLength })

/** A path that a caller passes, or the target of a link. */
export const anyPath = fc
  .tuple(
    weighted([29, fc.constant('')], [1, fc.constant('/')]),
    weighted([2, named(2)], [1, named(4)]),
    weighted([9, fc.constant('')], [1, fc.constant('/')]),
  )
  .map(([start, names, end]) => start + names.join('/') + end)

/** A path on the host that a JavaScript string can hold. */
const hostPath = fc.array(fc.constantFrom('a', 'b'), { maxLength: 2 }).map((names) => names.join('/'))

export const data = fc
  .tuple(fc.constantFrom('x', 'y', '\xff'), fc.nat(8))
  .map(([character, length]) => character.repeat(length))

const maybe = (arbitrary) => fc.option(arbitrary, { nil: undefined })
const mode = maybe(fc.constantFrom(0o600, 0o666, 0o777))
const links = fc.constantFrom('refuse', 'skip')
const without = maybe(fc.constantFrom('b', 'c\xff'))

const range = fc.tuple(maybe(fc.nat(9)), maybe(fc.nat(9))).map(([start, more]) => ({
  start,
  end: more === undefined ? undefined : (start ?? 0) + more,
}))
const stream = fc
  .record({
    chunks: fc.array(data, { maxLength: 3 }),
    mode,
    isFinished: fc.boolean(),
    how: weighted(
      [1, fc.constant({})],
      [1, fc.constant({ atomic: true })],
      [1, fc.constant({ append: true })],
      [1, fc.nat(11).map((start) => ({ start }))],
    ),
  })
  // A stream that writes nothing may be destroyed before its file is opened.
  .map(({ chunks, isFinished, how, ...rest }) => ({
    ...rest,
    ...how,
    chunks,
    isFinished: isFinished || chunks.length === 0,
  }))

const onePath = (options = fc.constant({})) => fc.record({ at: anyPath, options })
const twoPaths = (from, to, options = fc.constant({})) => fc.record({ at: from, to, options })
const transfer = fc.record({ links, without })

const shapes = {
  read: onePath(),
  readString: onePath(),
  readStream: onePath(range),
  write: onePath(fc.record({ data, mode, atomic: fc.boolean() })),
  writeString: onePath(fc.record({ data: data.filter((value) => !value.includes('\xff')), mode })),
  writeStream: onePath(stream),
  append: onePath(fc.record({ data, mode })),
  mkdir: onePath(),
  remove: onePath(),
  removeAll: onePath(),
  exists: onePath(),
  list: onePath(fc.record({ recursive: fc.boolean() })),
  stat: onePath(fc.record({ followSymlinks: fc.boolean() })),
  rename: twoPaths(anyPath, anyPath),
  copy: twoPaths(anyPath, anyPath),
  copyIn: twoPaths(hostPath, anyPath, transfer),
  copyOut: twoPaths(anyPath, hostPath, transfer),
}

export const methods = Object.keys(shapes)

export const callsOf = (method) => shapes[method].map(({ options, ...paths }) => ({ method, ...paths, ...options }))

export const anyCall = fc.oneof(...methods.map(callsOf))

const writing = new Set(['write', 'writeString', 'writeStream', 'append', 'copy', 'copyIn', 'copyOut'])

/** Whether a call writes to a file. For a path that ends in a slash there are two possible errors. */
export const writesAFile = ({ method }) => writing.has(method)

/** Returns a filter that declines one name. */
function leavingOut(left) {
  const shown = left && bytes(left).toString()
  return left && ((at) => path.basename(at) !== shown)
}

async function streamed(files, at, { chunks, isFinished, ...options }) {
  const stream = files.writeStream(at, options)
  if (isFinished) {
    return pipeline(chunks.map(bytes), stream)
  }
  const closed = once(stream, 'close').catch(() => {})
  const failed = new Promise((_, reject) => stream.on('error', reject))
  const written = chunks.map(
    (chunk) =>
      new Promise((resolve, reject) => stream.write(bytes(chunk), (error) => (error ? reject(error) : resolve()))),
  )
  try {
    await Promise.race([Promise.all(written), failed])
  } finally {
    failed.catch(() => {})
    await Promise.allSettled(written)
    stream.destroy()
    await closed
  }
}

/** Returns the properties of an entry that are compared with the model. */
export const entry = ({ kind, mode, size }) => (kind === 'directory' ? { kind, mode } : { kind, mode, size })

/** The methods, keyed by name. */
const calls = {
  read: async (files, at) => text(await files.read(at)),
  readString: async (files, at) => text(Buffer.from(await files.readString(at))),
  readStream: async (files, at, _, { start, end }) => text(await buffer(files.readStream(at, { start, end }))),
  write: (files, at, _, { data, ...options }) => files.write(at, bytes(data), options),
  writeString: (files, at, _, { data, mode }) => files.writeString(at, data, { mode }),
  writeStream: (files, at, _, options) => streamed(files, at, options),
  append: (files, at, _, { data, mode }) => files.append(at, bytes(data), { mode }),
  mkdir: (files, at) => files.mkdir(at),
  remove: (files, at) => files.remove(at),
  removeAll: (files, at) => files.removeAll(at),
  exists: (files, at) => files.exists(at),
  list: async (files, at, _, options) =>
    (await files.list(at, options)).map((each) => ({
      path: each.pathBytes ? text(each.pathBytes) : each.path,
      ...entry(each),
    })),
  stat: async (files, at, _, options) => entry(await files.stat(at, options)),
  rename: (files, at, to) => files.rename(at, to),
  copy: (files, at, to) => files.copy(at, to),
  copyIn: (files, at, to, { links, without }) => files.copyIn(at, to, { links, filter: leavingOut(without) }),
  copyOut: (files, at, to, { links, without }) => files.copyOut(at, to, { links, filter: leavingOut(without) }),
}

/** Makes a call. `host` is the directory in which the host paths start. */
export async function make(files, host, { method, at, to, ...options }) {
  const paths = [at, to ?? ''].map(bytes)
  if (method === 'copyIn') {
    paths[0] = path.join(host, at)
  } else if (method === 'copyOut') {
    paths[1] = path.join(host, to)
  }
  return calls[method](files, ...paths, options)
}
