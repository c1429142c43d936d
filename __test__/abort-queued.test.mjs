// Aborts of operations that are queued for a thread, or behind another writer.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Mount } from '../index.js'
import { failureOf } from './stream-support.mjs'
import {
  MAX_ATTEMPTS,
  keepWaiting,
  lockName,
  occupyBlockingPool,
  rejectsWith,
  shownOnce,
  tempVolume,
  turn,
  withoutFlock,
} from './support.mjs'

/** Rejects with the cause of a stream's error, once the stream is closed. */
async function causeOf(stream) {
  throw (await failureOf(stream)).cause
}

/** Makes a signal destroy a stream. */
function destroyedBy(signal, stream) {
  const destroy = () => stream.destroy(new Error('aborted', { cause: signal.reason }))
  signal.addEventListener('abort', destroy, { once: true })
  return stream
}

/** Aborts a copy once it waits for its commit. */
function abortedAtItsCommit(files) {
  const controller = new AbortController()
  const onProgress = () => setImmediate(() => controller.abort('mine'))
  return files.copyIn(import.meta.filename, 'copied', { signal: controller.signal, onProgress })
}

test(
  'an abort rejects at once although all threads of its pool wait',
  { skip: withoutFlock },
  async (t) => {
    const { store, files } = await tempVolume(t)
    await files.writeString('file', 'old')
    const attachment = await store.attach('held', { '/data': Mount.named('v') })
    const opened = Array.from({ length: MAX_ATTEMPTS }, () => files.writeStream('file', { atomic: true }))
    await Promise.all(opened.map((stream) => new Promise((resolve) => stream.write('begun', resolve))))
    const { names, release, waiting } = await occupyBlockingPool(t, store)
    const calls = [
      (signal) => store.attach('s', {}, { signal }),
      (signal) => store.detach(attachment.id, { signal, force: true }),
      (signal) => attachment.detach({ signal }),
      (signal) => attachment.handOver(process.ppid, { signal }),
      (signal) => attachment.unmount({ signal }),
      (signal) => causeOf(files.writeStream('streamed', { signal })),
      (signal) => causeOf(destroyedBy(signal, opened.pop())),
      () => abortedAtItsCommit(files),
    ]
    const attempt = async () => {
      const { ended } = waiting
      const controller = new AbortController()
      const queued = calls.map((call) => rejectsWith(call(controller.signal), 'mine', String(call)))
      // A stream is opened after the turn that created it.
      await turn()
      controller.abort('mine')
      await Promise.all(queued)
      return waiting.ended === ended
    }
    try {
      await shownOnce(attempt, 'an aborted call waited for the queue of its pool')
    } finally {
      opened.forEach((stream) => stream.destroy())
      // Otherwise the home is deleted while volumes are created in it.
      await release()
      await waiting.outcomes
    }
    const outcomes = await waiting.outcomes
    assert.deepEqual(new Set(outcomes.map(({ value }) => value?.name)), new Set(names))
    assert.equal((await store.attachments()).length, 1)
    assert.deepEqual((await files.list('')).map(({ path: entry }) => entry).sort(), ['file'])
    assert.equal(await files.readString('file'), 'old')
  },
)

test('an abort while its call is about to wait for another writer rejects at once', { skip: withoutFlock }, async (t) => {
  const { store, files } = await tempVolume(t, { quotaMib: 1 })
  await files.writeString('file', 'old')
  const release = await lockName(t, store, 'v~quota')
  const waiting = keepWaiting(1, () => files.append('file', ' new'))
  const calls = [(signal) => files.mkdir('dir', { signal }), (signal) => files.write('file', 'aborted', { signal })]
  /** Returns whether a call that has been aborted ended only after the operation that it was queued behind. */
  const isLate = async (call) => {
    let isPending = true
    const settled = call.finally(() => (isPending = false))
    const others = async () => {
      for (let count = 0; count < 200 && isPending; count += 1) await files.exists('file')
    }
    await Promise.race([settled, others()])
    // A late call is still pending now. One that is not ends without the other writer.
    const { ended } = waiting
    const wasPending = isPending
    await settled
    return wasPending && waiting.ended !== ended
  }
  try {
    for (let round = 0; round < 2000; round += 1) {
      const controller = new AbortController()
      const call = rejectsWith(calls[round % 2](controller.signal), 'mine', `round ${round}`)
      // The signal fires at different points of the first step.
      for (let spins = (round % 100) * 500; spins > 0; spins -= 1) Math.sqrt(spins)
      controller.abort('mine')
      assert.equal(await isLate(call), false, `round ${round}: an aborted call waited for another writer`)
    }
  } finally {
    await release()
    await waiting.outcomes
  }
  assert.equal(await files.readString('file'), 'old new')
  assert.equal(await files.exists('dir'), false)
})
