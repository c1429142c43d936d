// Large writes: whole content, the order of writers, their ends, and the event loop beside them.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { finished } from 'node:stream/promises'
import { test } from 'node:test'
import { HOW, KIB, MARKER, MIB, NEW, OLD, kinds, outcomeOf, takeAway } from './buffer-support.mjs'
import { runNode, tempDir, tempStore, tempVolume, turn } from './support.mjs'

test('every byte is written in its place, however long the data is', async (t) => {
  const { files, root } = await tempVolume(t)
  const limited = await tempVolume(t, { quotaMib: 128 })
  const source = randomBytes(9 * MIB + 7)
  for (const [of, directory] of [
    [files, root],
    [limited.files, limited.root],
  ]) {
    const ways = {
      plain: (data) => of.write('plain', data),
      atomic: (data) => of.write('atomic', data, { atomic: true }),
      durable: (data) => of.write('durable', data, { durable: true }),
      append: async (data) => {
        await of.write('append', '')
        await of.append('append', data)
      },
      stream: (data) => finished(of.writeStream('stream').end(data)),
      chunks: async (data) => {
        const stream = of.writeStream('chunks', { atomic: true })
        for (let at = 0, n = 1; at < data.length; at += n, n *= 3) {
          stream.write(data.subarray(at, at + n))
        }
        await finished(stream.end())
      },
    }
    for (const size of [1, 64 * KIB, MIB - 1, MIB, MIB + 1, 4 * MIB, 4 * MIB + 1, 9 * MIB + 7]) {
      const data = source.subarray(source.length - size)
      await Promise.all(Object.values(ways).map((write) => write(data)))
      for (const name of Object.keys(ways)) {
        assert.ok(readFileSync(path.join(directory, name)).equals(data), `${name} ${size}`)
      }
    }
  }
})

test('writes of one file at once leave the content of one of them', async (t) => {
  const { files, root } = await tempVolume(t)
  const size = 6 * MIB
  for (let round = 0; round < 6; round += 1) {
    const writes = Array.from({ length: 8 }, (_, n) => {
      const length = n % 2 === 0 ? size + n : 4 * KIB + n
      return files.write('x', Buffer.alloc(length, n + 1), { durable: n === 3 })
    })
    await Promise.all(writes)
    const found = readFileSync(path.join(root, 'x'))
    assert.equal(kinds(found).size, 1)
    const n = found[0] - 1
    assert.equal(found.length, n % 2 === 0 ? size + n : 4 * KIB + n)
  }
})

test('a file that another write has is free again whatever becomes of that', async (t) => {
  const { files, root } = await tempVolume(t)
  const controller = new AbortController()
  const lost = new Uint8Array(64 * MIB).fill(MARKER)
  const writes = [
    outcomeOf(files.write('x', lost)),
    outcomeOf(files.write('x', Buffer.alloc(16 * MIB, MARKER), { signal: controller.signal })),
    files.write('x', Buffer.alloc(2 * MIB, NEW)),
  ]
  await turn()
  structuredClone(lost.buffer, { transfer: [lost.buffer] })
  controller.abort()
  await Promise.all(writes)
  await files.writeString('x', 'last')
  assert.equal(readFileSync(path.join(root, 'x'), 'utf8'), 'last')
})

test('hundreds of large writes at once hold little memory and all end', async (t) => {
  const store = await tempStore(t)
  await store.createVolume('v')
  const { stdout, code } = await runNode(
    `const { VolumeStore } = await import(process.env.SV)
     const files = (await (await VolumeStore.open()).getVolume('v')).fs()
     const data = Buffer.alloc(${4 * MIB}, 1)
     await files.write('x', data)
     const before = process.memoryUsage.rss()
     // Into few files, several writes at once into the same one.
     const write = (_, n) => files.write('x' + n % 24, data, { atomic: n % 3 === 0 })
     await Promise.all(Array.from({ length: 300 }, write))
     console.log(process.resourceUsage().maxRSS * 1024 - before)`,
    { env: { MSB_HOME: store.home } },
  )
  assert.equal(code, 0)
  // Their data is 1200 MiB.
  t.diagnostic(`grew by ${(Number(stdout) / MIB).toFixed(1)} MiB`)
  assert.ok(Number(stdout) < 128 * MIB, stdout)
})

test('the event loop copies large data in small parts', async (t) => {
  const { files } = await tempVolume(t)
  const data = Buffer.alloc(64 * MIB, 1)
  let [turns, pending] = [0, true]
  const writes = Array.from({ length: 4 }, (_, n) => files.write(`x${n}`, data))
  const all = Promise.all(writes).finally(() => (pending = false))
  while (pending) {
    await turn()
    turns += 1
  }
  await all
  // 256 MiB, at most 4 MiB per turn.
  assert.ok(turns >= 32, `${turns} turns`)
})

test('a process stays until a large write ends, and one that exits in the middle leaves nothing in staging', async (t) => {
  const MSB_HOME = path.join(tempDir(t), 'home')
  const source = (rest) =>
    `const { VolumeStore } = await import(process.env.SV)
     const store = await VolumeStore.open()
     const volume = await store.createVolume('v').catch(() => store.getVolume('v'))
     const files = volume.fs()
     ${rest}`
  const stays = await runNode(
    source(`files.write('x', Buffer.alloc(${32 * MIB}, 1), { atomic: true }).then(() => console.log('written'))`),
    { env: { MSB_HOME } },
  )
  assert.deepEqual([stays.stdout, stays.code], ['written\n', 0])
  const exits = await runNode(
    source(
      `files.write('x', Buffer.alloc(${64 * MIB}, 2), { atomic: true })
       setImmediate(() => setImmediate(() => process.exit(7)))`,
    ),
    { env: { MSB_HOME } },
  )
  assert.deepEqual([exits.stdout, exits.stderr, exits.code], ['', '', 7])
  await runNode(source(''), { env: { MSB_HOME } })
  assert.deepEqual(readdirSync(path.join(MSB_HOME, 'volumes', '.staging')), [])
  const found = readFileSync(path.join(MSB_HOME, 'volumes', 'v', 'x'))
  assert.equal(kinds(found).size, 1)
})

test('a large write is aborted before its first byte, or ends whole', async (t) => {
  const { files, root } = await tempVolume(t)
  const size = 32 * MIB
  for (const options of Object.values(HOW)) {
    for (let turns = 0; turns < 5; turns += 1) {
      await files.write('x', Buffer.alloc(size, OLD))
      const controller = new AbortController()
      const writing = outcomeOf(files.write('x', Buffer.alloc(size, NEW), { ...options, signal: controller.signal }))
      for (let n = 0; n < turns; n += 1) {
        await turn()
      }
      controller.abort('mine')
      const outcome = await writing
      assert.ok(['mine', 'written'].includes(outcome), outcome?.stack)
      const found = readFileSync(path.join(root, 'x'))
      assert.deepEqual(kinds(found), new Set([outcome === 'written' ? NEW : OLD]))
    }
  }
})

test('a worker that ends in the middle of large writes undoes them', async (t) => {
  const { files, root, store } = await tempVolume(t)
  const { Worker } = await import('node:worker_threads')
  for (let round = 0; round < 4; round += 1) {
    await files.write('kept', Buffer.alloc(4 * MIB, OLD))
    const worker = new Worker(
      `const { parentPort, workerData } = require('node:worker_threads')
       import(workerData.url).then(async ({ default: { VolumeStore } }) => {
         const files = (await (await VolumeStore.open({ home: workerData.home })).getVolume('v')).fs()
         const data = Buffer.alloc(${64 * MIB}, ${NEW})
         files.write('kept', data, { atomic: true }).catch(() => {})
         files.write('created', data).catch(() => {})
         files.write('held', data).catch(() => {})
         parentPort.postMessage('begun')
       })`,
      { eval: true, workerData: { home: store.home, url: new URL('../index.js', import.meta.url).href } },
    )
    await once(worker, 'message')
    await turn()
    await worker.terminate()
    // Other writes can use the file that the worker wrote.
    await files.write('held', 'mine')
    const isSettled = () => {
      const kept = readFileSync(path.join(root, 'kept'))
      const created = readdirSync(root).includes('created') ? readFileSync(path.join(root, 'created')) : undefined
      return (
        readdirSync(path.join(store.home, 'volumes', '.staging')).length === 0 &&
        kinds(kept).size === 1 &&
        (created === undefined || (created.length === 64 * MIB && kinds(created).size === 1))
      )
    }
    while (!isSettled()) {
      await turn()
    }
    assert.equal(readFileSync(path.join(root, 'held'), 'utf8'), 'mine')
    await files.removeAll('created')
  }
})

test('a write or copy that fails takes away nothing that another call wrote', async (t) => {
  const { files, root } = await tempVolume(t)
  const source = path.join(tempDir(t), 'source')
  writeFileSync(source, Buffer.alloc(64 * MIB, NEW))
  const begin = {
    write: (name) => {
      const bytes = new Uint8Array(64 * MIB).fill(NEW)
      return [files.write(name, bytes), () => takeAway.structuredClone(bytes)]
    },
    copyIn: (name) => {
      const controller = new AbortController()
      return [files.copyIn(source, name, { signal: controller.signal }), () => controller.abort()]
    },
  }
  const put = {
    atomic: (name) => files.write(name, 'acknowledged', { atomic: true }),
    rename: (name) => files.write('other', 'acknowledged').then(() => files.rename('other', name)),
  }
  for (const [how, start] of Object.entries(begin)) {
    for (const [what, other] of Object.entries({ ...put, ...(how === 'write' && { plain: undefined }) })) {
      for (let round = 0; round < 4; round += 1) {
        const name = `${how}-${what}-${round}`
        const [failing, fail] = start(name)
        const outcome = outcomeOf(failing)
        // Before its first byte, a write whose file was replaced goes on in the file that has the name now.
        while ((statSync(path.join(root, name), { throwIfNoEntry: false })?.size ?? 0) === 0) {
          await turn()
        }
        // Plain writes run one after the other, in either order.
        const writing = other ? await other(name) : files.write(name, 'acknowledged')
        fail()
        await outcome
        await writing
        assert.ok(existsSync(path.join(root, name)), name)
        if (other) {
          assert.equal(readFileSync(path.join(root, name), 'utf8'), 'acknowledged', name)
        }
      }
    }
  }
})
