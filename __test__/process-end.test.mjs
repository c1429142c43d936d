// When a process ends: with nothing pending, with something pending, and by process.exit.
import assert from 'node:assert/strict'
import path from 'node:path'
import { test } from 'node:test'
import { lockName, outputOf, runNode, shownOnce, tempDir, tempVolume, withoutFlock } from './support.mjs'

const MIB = 1 << 20

/** Runs JavaScript in a separate process with `sv`, a `store` and the `files` of a volume. */
const inProcess = (t, source, options) =>
  runNode(
    `const sv = await import(process.env.SV)
     const store = await sv.VolumeStore.open({ durability: 'fast' })
     const volume = await store.createVolume('v')
     const files = volume.fs()
     ${source}`,
    { env: { MSB_HOME: path.join(tempDir(t), 'home') }, ...options },
  )

test('a process ends by itself when nothing is pending', async (t) => {
  await outputOf('await import(process.env.SV)')
  const ended = await inProcess(
    t,
    `await files.write('x', Buffer.alloc(${MIB}))
     await files.read('x')
     globalThis.kept = [store, volume, files, await store.attach('s', { '/data': sv.Mount.named('v') })]
     process.on('exit', () => console.log('ended'))`,
  )
  assert.deepEqual(ended, { code: 0, signal: null, stdout: 'ended\n', stderr: '' })
})

test('a process stays while something is pending, and ends thereafter', async (t) => {
  const ended = await inProcess(
    t,
    `files.write('x', Buffer.alloc(64 * ${MIB}), { durable: true }).then(() => console.log('written'))
     store.createVolume('w').then(() => files.readString('missing')).catch((error) => console.log(error.code))
     process.on('exit', () => console.log('ended'))`,
  )
  assert.deepEqual([ended.code, ended.signal, ended.stderr], [0, null, ''])
  const lines = ended.stdout.trim().split('\n')
  assert.deepEqual(lines.toSorted(), ['ENOENT', 'ended', 'written'])
  assert.equal(lines.at(-1), 'ended')
})

test('an unhandled rejection ends the process as any other does', async (t) => {
  const { code, stderr } = await inProcess(t, `files.read('missing')`)
  assert.equal(code, 1)
  assert.match(stderr, /FileSystemError: ENOENT: no such file or directory, open "missing"/)
})

test('process.exit in the middle of operations ends at once with its code', async (t) => {
  for (let round = 0; round < 10; round += 1) {
    const { code, signal, stderr } = await inProcess(
      t,
      `const large = Buffer.alloc(32 * ${MIB}, 1)
       for (let n = 0; n < 40; n += 1) {
         files.write('large-' + n % 4, large)
         files.write('atomic-' + n, 'x', { atomic: true })
         store.createVolume('v-' + n)
         files.read('large-' + n % 4).catch(() => {})
         store.listVolumes()
       }
       setTimeout(() => process.exit(7), ${round * 5})`,
    )
    assert.deepEqual({ code, signal, stderr }, { code: 7, signal: null, stderr: '' }, `round ${round}`)
  }
})

test(
  'process.exit does not wait for writes that are queued behind a lock',
  { skip: withoutFlock },
  async (t) => {
    const { store } = await tempVolume(t)
    const release = await lockName(t, store, 'locked')
    const creates = []
    await shownOnce(async () => {
      // It started its wait before the other process, so its timeout ends before one that waits for a lock of its
      // own.
      const gaveUp = store.createVolume('locked').catch((error) => error)
      creates.push(gaveUp)
      const ended = runNode(
        `const sv = await import(process.env.SV)
         const store = await sv.VolumeStore.open()
         const files = (await store.getVolume('v')).fs()
         for (let n = 0; n < 64; n += 1) {
           store.createVolume('locked').catch(() => {})
         }
         files.write('x', Buffer.alloc(${MIB}))
         setImmediate(() => process.exit(7))`,
        { env: { MSB_HOME: store.home } },
      )
      const first = await Promise.race([ended, gaveUp])
      assert.deepEqual(await ended, { code: 7, signal: null, stdout: '', stderr: '' })
      return first === (await ended)
    }, 'the process ended only once its operations gave up')
    await release()
    await Promise.all(creates)
  },
)
