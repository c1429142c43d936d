// A volume object stands for one volume, and never for a later one of its name (cases 20 and 53).
import assert from 'node:assert/strict'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { finished, pipeline } from 'node:stream/promises'
import { Readable } from 'node:stream'
import { InvalidConfigError, Mount, VolumeNotFoundError, VolumeStore } from '../index.js'
import { outputOf, rejects, tempDir, tempStore, throws } from './support.mjs'

/** Removes and creates `v` from this process, from another store of it, and from another process. */
const REMAKERS = {
  'this store': async (store) => {
    await store.removeVolume('v')
    return store.createVolume('v')
  },
  'another store': async (store) => {
    const other = await VolumeStore.open({ home: store.home })
    await other.removeVolume('v')
    return other.createVolume('v')
  },
  'another process': async (store) => {
    const printed = await outputOf(
      `import(process.env.SV).then(async ({ VolumeStore }) => {
        const store = await VolumeStore.open({ home: process.env.HOME_OF_STORE })
        await store.removeVolume('v')
        const volume = await store.createVolume('v')
        console.log(volume.id)
      })`,
      { env: { HOME_OF_STORE: store.home } },
    )
    const volume = await store.getVolume('v')
    assert.equal(volume.id, printed.trim())
    return volume
  },
}

/** Every method of the files of a volume, on the file `f` and the directory `d` of the next volume of its name. */
function methods(files, outside) {
  const seed = path.join(outside, 'seed')
  return {
    read: () => files.read('f'),
    readString: () => files.readString('f'),
    write: () => files.write('f', Buffer.from('stale')),
    writeAtomic: () => files.write('f', Buffer.from('stale'), { atomic: true, durable: true }),
    writeLarge: () => files.write('f', Buffer.alloc(256 * 1024)),
    writeString: () => files.writeString('new', 'stale'),
    append: () => files.append('f', 'stale'),
    copy: () => files.copy('f', 'copy'),
    copyIn: () => files.copyIn(seed, 'f'),
    copyOut: () => files.copyOut('f', path.join(outside, 'out')),
    readStream: () => files.readStream('f').toArray(),
    writeStream: () => pipeline(Readable.from([Buffer.from('stale')]), files.writeStream('f')),
    writeStreamAtomic: () =>
      pipeline(Readable.from([Buffer.from('stale')]), files.writeStream('f', { atomic: true })),
    mkdir: () => files.mkdir('made'),
    remove: () => files.remove('f'),
    removeAll: () => files.removeAll('d'),
    exists: () => files.exists('f'),
    list: () => files.list(''),
    listed: async () => {
      for await (const entry of files.list('')) {
        assert.fail(`listed ${entry.path}`)
      }
    },
    stat: () => files.stat('f'),
    rename: () => files.rename('f', 'g'),
  }
}

for (const [by, remake] of Object.entries(REMAKERS)) {
  test(`nothing of a volume that was removed and made again by ${by} reaches the new one`, async (t) => {
    const [store, outside] = [await tempStore(t), tempDir(t)]
    writeFileSync(path.join(outside, 'seed'), 'stale')
    const volume = await store.createVolume('v')
    const handle = await store.getVolume('v')
    assert.equal(handle.id, volume.id)
    const subjects = { volume, handle }
    const warm = volume.fs()
    await warm.writeString('f', 'first')
    const stream = warm.writeStream('f', { atomic: true })
    await new Promise((resolve, reject) => stream.write('first', (error) => (error ? reject(error) : resolve())))

    const next = await remake(store)
    assert.notEqual(next.id, volume.id)
    writeFileSync(path.join(next.path, 'f'), 'next tenant')
    mkdirSync(path.join(next.path, 'd'))

    for (const [what, subject] of Object.entries(subjects)) {
      const views = { cold: subject.fs(), ...(subject === volume ? { warm } : {}) }
      for (const [view, files] of Object.entries(views)) {
        for (const [method, call] of Object.entries(methods(files, outside))) {
          await rejects(Promise.resolve().then(call), VolumeNotFoundError, {
            volume: 'v',
            message: /does not exist/,
          }).catch((error) => assert.fail(`${what}, ${view}, ${method}: ${error.message}`))
        }
      }
      await rejects(subject.remove(), VolumeNotFoundError)
      const mount = Mount.named(subject)
      assert.equal(mount.volumeId, subject.id)
      for (const config of [mount, JSON.parse(JSON.stringify(mount)), Mount.namedWith(subject, {}, {})]) {
        await rejects(store.attach('worker', { '/data': config }), VolumeNotFoundError)
      }
    }
    const ended = finished(stream)
    stream.end()
    await rejects(ended, VolumeNotFoundError)

    assert.deepEqual(readdirSync(next.path).sort(), ['d', 'f'])
    assert.equal(readFileSync(path.join(next.path, 'f'), 'utf8'), 'next tenant')
    assert.equal(await next.fs().readString('f'), 'next tenant')
    const attachment = await store.attach('worker', { '/data': JSON.parse(JSON.stringify(Mount.named(next))) })
    await attachment.detach()
    await next.remove()
    assert.deepEqual(await store.listVolumes(), [])
  })
}

test('stale removals that race with removing and making again remove no later volume', async (t) => {
  const store = await tempStore(t)
  const stale = await store.createVolume('v')
  await store.removeVolume('v')
  for (let round = 0; round < 30; round++) {
    const race = () =>
      Promise.allSettled([stale.remove(), stale.fs().writeString('f', 'stale'), stale.fs().exists('f')])
    const [before, volume] = await Promise.all([race(), store.createVolume('v'), race()])
    for (const settled of [...before, ...(await race())]) {
      assert.ok(settled.reason instanceof VolumeNotFoundError, String(settled.reason ?? settled.value))
    }
    assert.equal((await store.getVolume('v')).id, volume.id)
    assert.deepEqual(readdirSync(volume.path), [])
    await volume.remove()
  }
})

test('a mount takes a volume or a name, and no other object', () => {
  for (const given of [{ name: 'v', id: '0'.repeat(32) }, ['v'], null]) {
    throws(() => Mount.named(given), InvalidConfigError, { field: 'name' })
  }
  assert.equal(Mount.named('v').volumeId, null)
})

test('a mount that may create a volume takes no volume', async (t) => {
  const volume = await (await tempStore(t)).createVolume('v')
  throws(() => Mount.namedWith(volume, {}, { mode: 'ensure-exists' }), InvalidConfigError, { field: 'volumeId' })
})
