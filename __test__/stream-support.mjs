// Support for the stream tests: distinct bytes, open descriptors, and the errors of streams.
import { once } from 'node:events'
import { closeSync, openSync, readdirSync, readlinkSync, realpathSync, truncateSync } from 'node:fs'
import path from 'node:path'
import sandboxVolumesNative from '../lib/native.js'

/** The native classes of the streams. */
export const { NativeReader, NativeWriter } = sandboxVolumesNative

/** Returns bytes such that data at a wrong offset differs. */
export function pattern(length) {
  const bytes = Buffer.alloc(length)
  for (let index = 0; index < length; index += 1) {
    bytes[index] = (index * 31 + (index >> 8)) & 0xff
  }
  return bytes
}

export const staged = (store) => readdirSync(path.join(store.home, 'volumes', '.staging'))

/** Returns the targets of the descriptors of this process below a home. */
export function openBelow(store) {
  const home = realpathSync(store.home)
  const targets = readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`)
    } catch {
      return ''
    }
  })
  return targets.filter((target) => target.startsWith(path.join(home, 'volumes', 'v'))).sort()
}

export function sparse(root, name, length) {
  closeSync(openSync(path.join(root, name), 'w'))
  truncateSync(path.join(root, name), length)
}

/** Returns the error of a stream, which must close afterwards. */
export async function failureOf(stream) {
  const closed = new Promise((resolve) => stream.once('close', resolve))
  const [error] = await once(stream, 'error')
  await closed
  return error
}

/** Collects the outcomes of the calls of a native method during a test. */
export function outcomes(t, Class, method) {
  const original = Class.prototype[method]
  const seen = []
  Class.prototype[method] = function (...args) {
    const called = original.apply(this, args)
    const at = seen.push(null) - 1
    called.then((value) => (seen[at] = { value }), (error) => (seen[at] = { error }))
    return called
  }
  t.after(() => (Class.prototype[method] = original))
  return seen
}

/** Counts the running calls of a native method during a test. */
export function outstanding(t, Class, method) {
  const original = Class.prototype[method]
  const seen = { now: 0, most: 0, calls: 0 }
  Class.prototype[method] = function (...args) {
    seen.calls += 1
    seen.now += 1
    seen.most = Math.max(seen.most, seen.now)
    return original.apply(this, args).finally(() => (seen.now -= 1))
  }
  t.after(() => (Class.prototype[method] = original))
  return seen
}
