// Replays the cases of the model in tests/suite/volume_fs/model through the methods of a volume, and compares results
// and trees.
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { buffer } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import { isDeepStrictEqual } from 'node:util'
import { VolumeStore } from '../index.js'
import { root as project } from './support.mjs'

/** In cases, names and contents have one character per byte, so that they need not be UTF-8. */
export const bytes = (text) => Buffer.from(text, 'latin1')
export const text = (buffer) => Buffer.from(buffer).toString('latin1')

/** Returns why the model cannot be built here, or false. */
export function withoutModel() {
  if (spawnSync('cargo', ['--version']).status === 0) return false
  return process.env.CI === 'true' ? assert.fail('cargo is missing') : 'cargo is missing, which builds the model'
}

/** Builds the model. Returns the program, which prints cases. */
export function buildModel() {
  const args = ['build', '--example', 'model-cases', '--no-default-features', '--message-format=json']
  const { status, stdout, stderr } = spawnSync('cargo', args, { cwd: project, encoding: 'utf8', maxBuffer: 2 ** 26 })
  assert.equal(status, 0, stderr)
  const messages = stdout.split('\n').filter((line) => line !== '').map((line) => JSON.parse(line))
  return messages.find(({ executable, target }) => executable && target.name === 'model-cases').executable
}

/** Starts the model. Returns what it says of itself, and its cases for a volume at `root`, which it makes on demand. */
export async function casesFor(program, { root, outside }, count, methods = []) {
  const child = spawn(program, [root, outside, String(count), ...methods], { stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = once(child, 'close')
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const about = JSON.parse((await lines.next()).value)
  async function* cases() {
    try {
      for await (const line of lines) yield JSON.parse(line)
      assert.deepEqual(await ended, [0, null], `${program} failed`)
    } finally {
      child.kill()
      await ended
    }
  }
  return { ...about, cases: cases() }
}

/** More directories than paths and links are likely to climb at once, if they get out. */
const BELOW = 'b/e/l/o/w/a/l/l'

/** Creates a volume below `dir`, a directory of the host, and one outside that nothing may touch. */
export async function prepare(dir, ...options) {
  const store = await VolumeStore.open({ home: path.join(dir, BELOW, 'home'), durability: 'fast' })
  const volume = await store.createVolume('v', ...options)
  const [outside, host] = ['outside', 'host'].map((each) => path.join(store.home, each))
  mkdirSync(host)
  mkdirSync(outside)
  writeFileSync(path.join(outside, 'file'), 'outside')
  mkdirSync(path.join(outside, 'a'))
  return { files: volume.fs(), root: volume.path, outside, host }
}

/** A path that JavaScript can write as a string is passed as one. */
const pathOf = (given) => (/^[\0-\x7f]*$/.test(given) ? given : bytes(given))

/** Returns a filter that declines one name. */
function leavingOut(left) {
  const shown = left && bytes(left).toString()
  return left && ((at) => path.basename(at) !== shown)
}

async function streamed(files, at, { chunks, isFinished, options }) {
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
  read: async (files, [at]) => text(await files.read(at)),
  readString: async (files, [at]) => text(Buffer.from(await files.readString(at))),
  readStream: async (files, [at], { options }) => text(await buffer(files.readStream(at, options))),
  write: (files, [at], { data, options }) => files.write(at, bytes(data), options),
  writeString: (files, [at], { data, options }) => files.writeString(at, data, options),
  writeStream: (files, [at], call) => streamed(files, at, call),
  append: (files, [at], { data, options }) => files.append(at, bytes(data), options),
  mkdir: (files, [at]) => files.mkdir(at),
  remove: (files, [at]) => files.remove(at),
  removeAll: (files, [at]) => files.removeAll(at),
  exists: (files, [at]) => files.exists(at),
  list: async (files, [at], { options }) =>
    (await files.list(at, options)).map((each) => ({
      path: each.pathBytes ? text(each.pathBytes) : each.path,
      ...entry(each),
    })),
  stat: async (files, [at], { options }) => entry(await files.stat(at, options)),
  rename: (files, paths) => files.rename(...paths),
  copy: (files, paths) => files.copy(...paths),
  copyIn: (files, paths, { options, without }) => files.copyIn(...paths, { ...options, filter: leavingOut(without) }),
  copyOut: (files, paths, { options, without }) => files.copyOut(...paths, { ...options, filter: leavingOut(without) }),
}

/** Makes a call. Paths of the host start in `host`. */
async function make(files, host, call) {
  const paths = call.paths.map(pathOf)
  const onHost = { copyIn: 0, copyOut: 1 }[call.method]
  if (onHost !== undefined) {
    paths[onHost] = path.join(host, call.paths[onHost])
  }
  return calls[call.method](files, paths, call)
}

const child = (at, name) => Buffer.concat([at, bytes(`/${name}`)])

/** Creates a tree of the model in a directory, instead of what is there. */
function plant(top, { mode, entries }) {
  for (const name of readdirSync(top, { encoding: 'latin1' })) {
    rmSync(child(top, name), { recursive: true })
  }
  for (const [name, node] of Object.entries(entries)) {
    const at = child(top, name)
    if (node.target !== undefined) {
      symlinkSync(bytes(node.target), at)
    } else if (node.entries !== undefined) {
      mkdirSync(at)
      plant(at, node)
    } else {
      writeFileSync(at, bytes(node.content))
      chmodSync(at, node.mode)
    }
  }
  chmodSync(top, mode)
}

/** Returns the tree on disk, in the terms of the model. */
function found(at) {
  const kind = lstatSync(at)
  const mode = kind.mode & 0o7777
  if (kind.isSymbolicLink()) {
    return { target: readlinkSync(at, { encoding: 'latin1' }) }
  }
  if (kind.isFile()) {
    return { mode, content: readFileSync(at, 'latin1') }
  }
  const names = readdirSync(at, { encoding: 'latin1' })
  return { mode, entries: Object.fromEntries(names.map((name) => [name, found(child(at, name))])) }
}

/** Returns the tree on disk, with the time of the last change of each entry. */
function seen(at) {
  const kind = lstatSync(at)
  const below = kind.isDirectory() ? readdirSync(at).map((name) => [name, seen(path.join(at, name))]) : []
  return [kind.mode, kind.mtimeMs, kind.isFile() ? readFileSync(at, 'utf8') : null, below]
}

/**
 * Whether a node is what an incomplete copy may leave: as before, or as after the whole copy. A new directory may
 * have the rights of its owner only, and lack later entries.
 */
function isBetween(node, before, after) {
  if (isDeepStrictEqual(node, before) || isDeepStrictEqual(node, after)) {
    return true
  }
  if (!node.entries || !after?.entries || (before !== undefined && !before.entries)) {
    return false
  }
  const mayHave = node.mode === after.mode || (before === undefined && node.mode === 0o700)
  const old = before?.entries ?? {}
  const isKept = Object.keys(old).every((name) => name in node.entries)
  const between = ([name, each]) => isBetween(each, old[name], after.entries[name])
  return mayHave && isKept && Object.entries(node.entries).every(between)
}

/**
 * Replays a case. For each call the model gives the `value`, or the `codes` of which one is right; with `isPartial`
 * some of the new entries may exist, and with `isOpen` the result depends on an order. Errors are of `errorClass`.
 */
export async function replay(files, errorClass, { root, host, outside }, { volume, hostTree, steps }) {
  plant(bytes(root), volume)
  plant(bytes(host), hostTree)
  const untouched = seen(outside)
  let before = [volume, hostTree]
  for (const { expected, ...call } of steps) {
    const what = JSON.stringify(call)
    const given = await make(files, host, call).then(
      (value) => ({ value }),
      (error) => ({ error, code: error.code }),
    )
    assert.ok(existsSync(root), `the root after ${what}`)
    const now = [found(bytes(root)), found(bytes(host))]
    assert.deepEqual(seen(outside), untouched, `the outside after ${what}`)
    if (expected.codes) {
      assert.ok(expected.codes.includes(given.code), `${what}: ${given.code}, not ${expected.codes}`)
      assert.ok(given.error instanceof errorClass, `${what}: ${given.error.stack}`)
    } else if (!expected.isOpen) {
      assert.deepEqual(given, { value: expected.value }, what)
    }
    const after = [expected.volume ?? before[0], expected.hostTree ?? before[1]]
    if (expected.isPartial) {
      const isAllowed = now.every((each, at) => isBetween(each, before[at], after[at]))
      assert.ok(isAllowed, `what is left of ${what}`)
    } else if (!expected.isOpen) {
      assert.deepEqual(now, after, `the volume and the host after ${what}`)
    }
    before = now
  }
}
