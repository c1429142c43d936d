// Bytes that are written while their buffer is taken away, and what a file has of them.
import { MessageChannel } from 'node:worker_threads'

export const KIB = 1024
export const MIB = 1 << 20
export const [OLD, NEW, MARKER] = [0x11, 0x22, 0x33]

/** Ways to take away the memory of a buffer as soon as a call has returned. */
export const takeAway = {
  structuredClone: (bytes) => structuredClone(bytes.buffer, { transfer: [bytes.buffer] }),
  postMessage: (bytes) => {
    const { port1, port2 } = new MessageChannel()
    port1.postMessage(null, [bytes.buffer])
    port1.close()
    port2.close()
  },
  ...(ArrayBuffer.prototype.transfer && { transfer: (bytes) => bytes.buffer.transfer() }),
}

/** Fills memory that may be the old memory of the buffer, with bytes that must never be written. */
export function recycle(size) {
  return [0, 1].map(() => Buffer.alloc(size, MARKER))
}

/** Returns the distinct bytes of a file. */
export function kinds(bytes) {
  const found = new Set()
  const block = 64 * KIB
  for (let at = 0; at < bytes.length; at += block) {
    const part = bytes.subarray(at, at + block)
    const isUniform = part.length === 1 || part.subarray(1).equals(part.subarray(0, -1))
    for (const byte of isUniform ? [part[0]] : part) {
      found.add(byte)
    }
  }
  return found
}

export const outcomeOf = (promise) =>
  promise.then(
    () => 'written',
    (error) => error,
  )

/** Options of a write, by its kind. */
export const HOW = { plain: {}, atomic: { atomic: true } }
