import assert from 'node:assert/strict'
import { readFile, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import path from 'node:path'
import { test } from 'node:test'
import { Mount, VolumeInUseError, VolumeStore } from '../index.js'
import {
  indexPath,
  keepWaiting,
  lockFile,
  lockName,
  outputOf,
  rejects,
  runNode,
  shownOnce,
  tempDir,
  tempStore,
  tempVolume,
  turn,
  withoutFlock,
} from './support.mjs'

const MIB = 1 << 20

/** Repeats an operation that timed out because other operations of this process wrote the catalog. */
async function untilNotBusy(operation) {
  for (;;) {
    try {
      return await operation()
    } catch (error) {
      if (!/catalog was busy with other operations of this process/.test(error.message)) throw error
    }
  }
}

test('a thousand operations of all kinds at once each give their own result', async (t) => {
  const { store, files } = await tempVolume(t)
  await files.writeString('shared', 'shared')
  const kinds = [
    async (n) => {
      const create = () => store.createVolume(`v-${n}`, { labels: { n: `${n}` } })
      assert.equal((await untilNotBusy(create)).name, `v-${n}`)
    },
    async (n) => {
      await files.writeString(`s-${n}`, `${n}`)
      assert.equal(await files.readString(`s-${n}`), `${n}`)
    },
    async (n) => {
      const bytes = Buffer.alloc(70_000 + n, n)
      await files.write(`l-${n}`, bytes)
      assert.ok((await files.read(`l-${n}`)).equals(bytes))
    },
    async (n) => {
      await files.writeString(`a-${n}`, `${n}`, { atomic: true, durable: n % 5 === 0 })
      assert.equal(await files.readString(`a-${n}`), `${n}`)
    },
    async (n) => {
      await files.mkdir(`d-${n}/deep`)
      await files.removeAll(`d-${n}`)
      assert.equal(await files.exists(`d-${n}`), false)
    },
    async () => assert.equal(await files.readString('shared'), 'shared'),
    async () => assert.ok((await store.listVolumes({ labels: { n: '0' } })).length <= 1),
    async () => assert.equal((await store.getVolume('v')).name, 'v'),
    async (n) => assert.equal(await store.getVolume(`none-${n}`).catch((error) => error.volume), `none-${n}`),
    async (n) => {
      const attachment = await untilNotBusy(() => store.attach(`s-${n}`, { '/data': Mount.named('v') }))
      await untilNotBusy(() => attachment.detach())
    },
  ]
  const operations = Array.from({ length: 1000 }, (_, n) => kinds[n % kinds.length](n))
  await Promise.all(operations)
  assert.equal((await store.listVolumes()).length, 101)
})

test('the event loop turns while large files are read and written', async (t) => {
  const { files } = await tempVolume(t)
  const large = Buffer.alloc(256 * MIB, 1)
  const turnsDuring = async (operation) => {
    let [turns, pending] = [0, true]
    const result = operation().finally(() => (pending = false))
    while (pending) {
      await turn()
      turns += 1
    }
    await result
    return turns
  }
  for (const [name, operation] of [
    ['write', () => files.write('large', large)],
    ['atomic write', () => files.write('large', large, { atomic: true })],
    ['read', () => files.read('large')],
  ]) {
    // Other load on the machine may take the time of one attempt.
    const turns = []
    while (turns.length < 5 && !(turns.at(-1) > 10)) {
      turns.push(await turnsDuring(operation))
    }
    assert.ok(turns.at(-1) > 10, `${turns} turns during a ${name}`)
  }
})

test(
  'operations on a name that another process holds give up together, and hold up no other name',
  { skip: withoutFlock },
  async (t) => {
    const [store, elsewhere] = [await tempStore(t), await tempStore(t)]
    await lockName(t, store, 'locked')
    await lockName(t, elsewhere, 'locked')
    await shownOnce(async () => {
      let ended = 0
      const waiting = Array.from({ length: 40 }, () => store.createVolume('locked').finally(() => (ended += 1)))
      const settled = Promise.allSettled(waiting)
      let rounds = 0
      while (rounds < 20 && ended === 0) {
        await store.createVolume('other')
        await store.removeVolume('other')
        rounds += ended === 0 ? 1 : 0
      }
      // One after the other, these waits would take 40 times as long.
      for (let waits = 0; ended < waiting.length; waits += 1) {
        assert.ok(waits < 20, 'the operations wait one after the other')
        await rejects(elsewhere.createVolume('locked'), VolumeInUseError)
      }
      const codes = new Set((await settled).map(({ reason }) => reason.code))
      assert.deepEqual(codes, new Set(['ERR_VOLUME_IN_USE']))
      return rounds > 0
    }, 'another name waited for the lock')
  },
)

test(
  'an operation that is aborted while it waits behind another one of its name rejects at once',
  { skip: withoutFlock },
  async (t) => {
    const store = await tempStore(t)
    await shownOnce(async () => {
      const release = await lockName(t, store, 'locked')
      let ended = false
      const first = store.createVolume('locked').finally(() => (ended = true))
      const controller = new AbortController()
      const second = store.createVolume('locked', { signal: controller.signal })
      const third = store.removeVolume('locked')
      const settled = Promise.allSettled([first, third])
      controller.abort('mine')
      const reason = await second.catch((reason) => reason)
      const isFirst = !ended
      await release()
      const outcomes = (await settled).map(({ reason }) => reason?.code ?? 'ok')
      assert.deepEqual(await store.listVolumes(), [])
      return isFirst && reason === 'mine' && outcomes.every((outcome) => outcome === 'ok')
    }, 'it waited for the lock')
  },
)

test(
  'operations that wait for a lock leave all others and libuv’s pool free',
  { skip: withoutFlock },
  async (t) => {
    const { store, files, root } = await tempVolume(t)
    await files.writeString('x', 'short')
    const large = Buffer.alloc(MIB, 1)
    const release = await lockName(t, store, 'locked')
    const waiting = keepWaiting(64, () => store.createVolume('locked'))
    let heldUp = 0
    /**
     * Asserts that some operations end while all others wait. On a busy machine the waits may time out during a few
     * attempts.
     */
    const endsBeside = async (times, operations) => {
      for (let shown = 0; shown < times; ) {
        const before = waiting.ended
        await operations()
        shown += waiting.ended === before ? 1 : 0
        heldUp += waiting.ended === before ? 0 : 1
        assert.ok(heldUp < 20, 'operations ended only after those that wait for the lock')
      }
    }
    await endsBeside(100, async () => {
      assert.equal(await files.readString('x'), 'short')
      await files.writeString('y', 'short')
      assert.equal(await files.exists('y'), true)
      await files.mkdir('dir')
      await files.remove('dir')
      await writeFile(path.join(root, 'z'), 'by Node')
      assert.equal(await readFile(path.join(root, 'z'), 'utf8'), 'by Node')
    })
    // Long operations too.
    await endsBeside(1, async () => {
      await files.write('large', large, { atomic: true })
      assert.ok((await files.read('large')).equals(large))
      await files.removeAll('large')
    })
    await endsBeside(1, async () => {
      const held = await store.attach('s', { '/data': Mount.named('v') })
      assert.equal((await store.getVolume('v')).name, 'v')
      assert.equal((await store.listVolumes()).length, 1)
      await held.detach()
      await VolumeStore.open({ home: store.home })
    })
    // Four times as many file calls of Node.js at once as its pool has threads.
    await endsBeside(1, () => Promise.all(Array.from({ length: 16 }, () => readFile(path.join(root, 'x')))))
    assert.equal(waiting.settled, 0, 'all of them waited')
    await release()
    const outcomes = await waiting.outcomes
    assert.equal(outcomes.filter(({ error }) => error === undefined).length, 1)
    const errors = outcomes.filter(({ error }) => error !== undefined)
    assert.deepEqual(new Set(errors.map(({ error }) => error.code)), new Set(['ERR_VOLUME_ALREADY_EXISTS']))
  },
)

test(
  'a read does not wait behind operations that wait for a writer of the catalog',
  { skip: withoutFlock },
  async (t) => {
    const { store, files } = await tempVolume(t)
    const large = Buffer.alloc(4 * MIB, 1)
    await files.write('large', large)
    const attach = () => store.attach('s', { '/data': Mount.named('v') })
    const attachments = await Promise.all(Array.from({ length: 40 }, attach))
    const release = await lockFile(t, path.join(store.home, 'db', 'volumes.db.lock'))
    let ended = 0
    const count = () => (ended += 1)
    const waiting = [
      ...attachments.slice(0, 20).map((attachment) => attachment.detach()),
      ...attachments.slice(20, 30).map(({ id }) => store.detach(id, { force: true })),
      ...attachments.slice(30).map((attachment) => attachment.handOver(process.pid)),
    ]
    const settled = Promise.all(waiting.map((operation) => operation.then(count, count)))
    // It waits for the writer too, but only for a short time, and then goes on.
    const opened = VolumeStore.open({ home: store.home, durability: 'full' })
    let rounds = 0
    while (rounds < 10 && ended === 0) {
      assert.equal((await store.getVolume('v')).name, 'v')
      assert.equal((await store.listVolumes()).length, 1)
      assert.equal((await store.attachments()).length, 40)
      assert.ok((await files.read('large')).equals(large))
      rounds += ended === 0 ? 1 : 0
    }
    assert.ok(rounds > 0, 'reads ended only after operations that wait for the lock')
    await release()
    await settled
    await opened
  },
)

test('a module that is loaded again works beside the first one', async (t) => {
  const { store, files } = await tempVolume(t)
  const require = createRequire(import.meta.url)
  const first = require(indexPath)
  for (const loaded of Object.keys(require.cache)) {
    delete require.cache[loaded]
  }
  const second = require(indexPath)
  assert.notEqual(second.VolumeStore, first.VolumeStore)
  const other = await second.VolumeStore.open({ home: store.home })
  await other.createVolume('w')
  await files.writeString('x', 'first')
  const attachment = await other.attach('s', { '/data': second.Mount.named('v'), '/w': Mount.named('w') })
  assert.equal(await (await other.getVolume('v')).fs().readString('x'), 'first')
  const [missing, missed] = await Promise.all(
    [other, store].map((each) => each.getVolume('none').catch((error) => error)),
  )
  // A caller of either module recognizes the errors of both.
  for (const error of [missing, missed]) {
    assert.ok(error instanceof first.VolumeNotFoundError && error instanceof second.VolumeNotFoundError)
  }
  await attachment.detach()
  assert.deepEqual((await store.listVolumes()).map(({ name }) => name).sort(), ['v', 'w'])
})

test('ES modules import by name, and CommonJS requires', async (t) => {
  const env = { MSB_HOME: path.join(tempDir(t), 'home') }
  const names =
    'createVolume, getVolume, listVolumes, removeVolume, attach, Mount, VolumeStore, VolumeNotFoundError'
  const rest = `
    createVolume('v').then(() => attach('s', { '/v': Mount.named('v') })).then((held) => held.detach())
      .then(() => getVolume('v')).then(() => removeVolume('v')).then(() => listVolumes())
      .then((left) => console.log(left.length, typeof VolumeStore.open, VolumeNotFoundError.name))`
  const url = new URL('../index.js', import.meta.url).href
  for (const [type, source] of [
    ['module', `import { ${names} } from '${url}'`],
    ['module', `import sv from '${url}'; const { ${names} } = sv`],
    ['module', `import * as sv from '${url}'; const { ${names} } = sv`],
    ['commonjs', `const { ${names} } = require(process.env.SV)`],
  ]) {
    assert.equal(await outputOf(source + rest, { type, env }), '0 function VolumeNotFoundError\n')
  }
  const exported = await outputOf(
    `const named = Object.keys(await import(process.env.SV)).filter((name) => !['default', 'module.exports'].includes(name))
     console.log(JSON.stringify([named.sort(), Object.keys((await import(process.env.SV)).default).sort()]))`,
  )
  const [named, required] = JSON.parse(exported)
  assert.deepEqual(named, required)
})

test('stores without references are released', async (t) => {
  const home = path.join(tempDir(t), 'home')
  const { stdout, code } = await runNode(
    `const { readdirSync } = await import('node:fs')
     const { VolumeStore } = await import(process.env.SV)
     const open = () => readdirSync('/proc/self/fd').length
     // Referenced until they are counted: the engine may collect garbage at any time.
     const countSome = async () => {
       const stores = []
       for (let n = 0; n < 50; n += 1) {
         stores.push(await VolumeStore.open({ home: process.env.MSB_HOME + n }))
         await stores[n].listVolumes()
       }
       return stores.length && open()
     }
     const before = await countSome()
     for (let n = 0; n < 20 && open() > before / 2; n += 1) {
       gc()
       await new Promise(setImmediate)
     }
     console.log(before > 100 && open() < before / 2)`,
    { env: { MSB_HOME: home }, args: ['--expose-gc'] },
  )
  assert.deepEqual([code, stdout], [0, 'true\n'])
})
