// How long large arguments and results block the event loop: the longest gap of a timer of 1 ms, and the CPU time
// of the thread in one gap, which is valid on a busy machine too.
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Mount, VolumeStore } from '../index.js'

const MIB = 1 << 20
const ROUNDS = 5

/** Returns the CPU time of this thread in milliseconds. */
function cpuTime() {
  const length = fs.readSync(schedstat, buffer, 0, buffer.length, 0)
  return Number(buffer.toString('latin1', 0, length).split(' ')[0]) / 1e6
}

const [schedstat, buffer] = [fs.openSync('/proc/thread-self/schedstat'), Buffer.alloc(64)]

/**
 * Runs `operation`. Returns the most time, and the most CPU time of this thread, between two ticks of a timer of 1
 * ms.
 */
async function longestGap(operation) {
  let [gap, cpu, last, lastCpu] = [0, 0, performance.now(), cpuTime()]
  const tick = () => {
    const [now, nowCpu] = [performance.now(), cpuTime()]
    gap = Math.max(gap, now - last)
    cpu = Math.max(cpu, nowCpu - lastCpu)
    last = now
    lastCpu = nowCpu
  }
  const timer = setInterval(tick, 1)
  const result = await operation()
  tick()
  clearInterval(timer)
  return { gap, cpu, result }
}

/** Prints the median, the best and the worst of some rounds: other load on the machine causes gaps too. */
async function gaps(title, operation) {
  const found = []
  let result
  for (let round = 0; round < ROUNDS; round++) {
    globalThis.gc?.()
    const measured = await longestGap(operation)
    result = measured.result
    found.push(measured)
  }
  const summary = ['gap', 'cpu'].map((name) => {
    const [best, , middle, , worst] = found.map((each) => each[name]).sort((a, b) => a - b)
    return `${name} ${middle.toFixed(1)} ms (${best.toFixed(1)} to ${worst.toFixed(1)})`
  })
  console.log(`${title.padEnd(38)} longest ${summary.join(', longest ')}`)
  return result
}

/** Creates the volumes as directories, which a home without a catalog finds. */
async function homeWith(dir, count) {
  const home = path.join(dir, `home-${count}`)
  for (let index = 0; index < count; index++) {
    fs.mkdirSync(path.join(home, 'volumes', `volume-${index}`), { recursive: true })
  }
  return VolumeStore.open({ home, durability: 'fast' })
}

const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'sandbox-volumes-bench-'))
try {
  await gaps('nothing, for 200 ms', () => sleep(200))
  for (const count of [10_000, 50_000]) {
    const store = await homeWith(dir, count)
    const listed = await gaps(`listVolumes of ${count}`, () => store.listVolumes())
    console.log(`${''.padEnd(38)} ${listed.length} listed`)
  }
  const store = await VolumeStore.open({ home: path.join(dir, 'home'), durability: 'fast' })
  const files = (await store.createVolume('bench')).fs()
  for (const [kind, text] of [
    ['ASCII', Buffer.alloc(64 * MIB, 'text').toString('latin1')],
    ['not ASCII', Buffer.alloc(64 * MIB, 'täxt ').toString()],
  ]) {
    await gaps(`writeString of 64 MiB, ${kind}`, () => files.writeString('text', text))
    await gaps(`append of 64 MiB, ${kind}`, () => files.append(`log-${kind}`, text))
    const read = await gaps(`readString of 64 MiB, ${kind}`, () => files.readString('text'))
    console.log(`${''.padEnd(38)} ${read === text ? 'the same text' : 'another text'}`)
  }
  const mounts = Object.fromEntries(
    Array.from({ length: 10_000 }, (_, index) => [`/m/${index}`, Mount.named('bench', { readonly: true })]),
  )
  const copies = JSON.parse(JSON.stringify(mounts))
  const held = []
  const attachment = await gaps('attach of 10000 mounts', async () => {
    held.push(await store.attach('bench', mounts))
    return held.at(-1)
  })
  await gaps('attachments of 10000 mounts each', () => store.attachments())
  await gaps('attach of 10000 mounts from JSON', async () => {
    held.push(await store.attach('bench', copies))
  })
  // These calls are synchronous: each is one turn.
  for (const [name, options] of [
    ['toBubblewrap', {}],
    ['toOci', {}],
    ['toQemu', { socketDir: '/run' }],
    ['toDocker', {}],
    ['toDocker', { engine: 'podman' }],
    ['toMicrosandbox', {}],
    ['toKubernetes', {}],
    ['toKubernetes', { claims: true, storageMib: 1 }],
    ['descriptors', {}],
  ]) {
    const title = [name, ...Object.keys(options)].join(' ')
    await gaps(`${title} of 10000 mounts`, async () => attachment[name](options))
  }
  const mount = { bind: () => mount, readonly: () => mount }
  const builder = { volume: (_guestPath, configure) => configure(mount) }
  await gaps('configureSandbox of 10000 mounts', async () => attachment.configureSandbox(builder))
  for (const each of held) {
    await each.detach()
  }
  for (let index = 0; index < 200_000; index++) {
    fs.writeFileSync(path.join(files.root, `file-${index}`), '')
  }
  await gaps('list of 200000 entries', () => files.list(''))
} finally {
  fs.rmSync(dir, { recursive: true })
}
