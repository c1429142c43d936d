// Every short operation once, beside operations that wait.
import assert from 'node:assert/strict'
import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { Mount } from '../index.js'
import { tempDir } from './support.mjs'

const MIB = 1 << 20

/** Creates a tree of some files on the host. */
export function plantedTree(t) {
  const tree = path.join(tempDir(t), 'tree')
  for (const dir of ['a', 'b']) {
    mkdirSync(path.join(tree, dir), { recursive: true })
    writeFileSync(path.join(tree, dir, 'file'), dir)
  }
  return tree
}

/** Runs one of each short operation, in a volume with a quota and in one without. Yields after some of them. */
async function* shortOperations(store, round) {
  for (const [kind, options] of Object.entries({ plain: {}, limited: { quotaMib: 64 } })) {
    const name = `${kind}-${round}`
    const volume = await store.createVolume(name, { labels: { kind }, ...options })
    yield `${kind}: create`
    const files = volume.fs()
    await files.mkdir('dir')
    yield `${kind}: mkdir`
    await files.writeString('f', 'x')
    yield `${kind}: write`
    await files.writeString('f', 'y', { atomic: true })
    yield `${kind}: write atomically`
    await files.writeString('f', 'z', { durable: true })
    yield `${kind}: write durably`
    await files.append('f', 'z')
    yield `${kind}: append`
    assert.equal(await files.readString('f'), 'zz')
    yield `${kind}: read`
    const stream = files.writeStream('streamed')
    await new Promise((resolve, reject) => {
      stream.on('error', reject)
      stream.write(Buffer.alloc(MIB, 1))
      stream.end(resolve)
    })
    yield `${kind}: stream`
    assert.equal((await files.read('streamed')).length, MIB)
    yield `${kind}: read more`
    assert.deepEqual((await files.list('')).map((entry) => entry.path).sort(), ['dir', 'f', 'streamed'])
    yield `${kind}: list`
    assert.equal((await store.getVolume(name)).name, name)
    yield `${kind}: get`
    const attachment = await store.attach(name, { '/data': Mount.named(name) })
    yield `${kind}: attach`
    assert.equal((await store.attachments({ volume: name })).length, 1)
    yield `${kind}: attachments`
    await attachment.detach()
    yield `${kind}: detach`
    await files.rename('streamed', 'dir/streamed')
    yield `${kind}: rename`
    await files.copy('dir', 'copied')
    yield `${kind}: copy`
    await files.removeAll('dir')
    yield `${kind}: remove all`
    await files.remove('f')
    yield `${kind}: remove`
    assert.ok((await store.listVolumes({ labels: { kind } })).length >= 1)
    yield `${kind}: list volumes`
    await store.removeVolume(name)
    yield `${kind}: remove the volume`
  }
}

export async function everyShortOperation(store) {
  for await (const _ of shortOperations(store, 0));
}

/**
 * Asserts that each short operation ends while all waiting operations still wait. The waits have a timeout. On a
 * busy machine the timeout may end a wait during a step; that step is repeated.
 */
export async function everyShortOperationBeside(waiting, store) {
  const [all, shown, heldUp] = [new Set(), new Set(), []]
  for (let round = 0; round === 0 || shown.size < all.size; round += 1) {
    let before = waiting.ended
    for await (const step of shortOperations(store, round)) {
      all.add(step)
      if (waiting.ended === before) {
        shown.add(step)
      } else {
        heldUp.push(step)
        assert.ok(heldUp.length < 10, `no step ended before those that wait: ${heldUp}`)
      }
      before = waiting.ended
    }
    assert.equal(waiting.settled, 0, 'all of them waited')
  }
}

/** Aborts operations that are kept waiting, which ends each of them. */
export async function abortAll(waiting, controller) {
  controller.abort()
  for (const { error } of await waiting.outcomes) {
    assert.equal(error, controller.signal.reason)
  }
}
