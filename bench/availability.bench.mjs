// Short operations alone and during 64 copies, with and without a quota. `createVolume` is compared with a C program that
// makes the same directories, files, writes, renames and syncs, alone and during 64 plain `cp -r`, in the same run.
import { execFileSync, spawn } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { Mount, VolumeStore } from '../index.js'

const [COPIES, SAMPLES, FILES, BYTES] = [64, 200, 400, 10 * 1024]

const base = fs.mkdtempSync(path.join(os.tmpdir(), 'sandbox-volumes-bench-'))
let made = 0
const fresh = () => `made-${made++}`

/** Returns percentiles of some times in milliseconds. */
function percentiles(times) {
  const sorted = times.toSorted((a, b) => a - b)
  const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]
  return { p50: at(0.5), p99: at(0.99) }
}

async function measure(operation) {
  const times = []
  for (let sample = 0; sample < SAMPLES; sample++) {
    const start = performance.now()
    await operation(sample)
    times.push(performance.now() - start)
  }
  return percentiles(times)
}

/** Keeps 64 copies running until the returned function is called. */
function keepCopying(copy) {
  let goesOn = true
  const loop = async () => {
    while (goesOn) await copy()
  }
  const loops = Promise.all(Array.from({ length: COPIES }, loop))
  return async () => {
    goesOn = false
    await loops
  }
}

/** What one `createVolume` asks of the file system, as `strace` shows it, with plain files in place of the catalog. */
const STEPS = `#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
static char pages[20600];
static off_t end;
static int commit(int log, int bytes) {
  if (pwrite(log, pages, bytes, end) != bytes || fsync(log)) return 1;
  end += bytes;
  return 0;
}
static int create(int top, int staging, int ids, int log, char *name) {
  if (commit(log, 5 * 4120) || mkdirat(staging, name, 0700)) return 1;
  int dir = openat(staging, name, O_RDONLY | O_DIRECTORY);
  if (dir < 0 || fchmod(dir, 0755) || fsync(dir) || close(dir)) return 1;
  int id = openat(ids, name, O_RDWR | O_CREAT, 0600);
  if (id < 0 || pwrite(id, pages, 33, 0) != 33 || ftruncate(id, 33) || fsync(id) || close(id)) return 1;
  if (fsync(ids) || renameat(staging, name, top, name) || fsync(top)) return 1;
  return commit(log, 4120);
}
int main(int argc, char **argv) {
  if (argc != 3 || mkdir(argv[1], 0700) || chdir(argv[1]) || mkdir(".staging", 0700) || mkdir(".ids", 0700)) return 1;
  int top = open(".", O_RDONLY), staging = open(".staging", O_RDONLY), ids = open(".ids", O_RDONLY);
  int log = open(".log", O_RDWR | O_CREAT, 0600);
  for (int sample = 0; sample < atoi(argv[2]); sample++) {
    char name[32];
    struct timespec from, to;
    snprintf(name, sizeof name, "volume-%d", sample);
    clock_gettime(CLOCK_MONOTONIC, &from);
    if (create(top, staging, ids, log, name)) return 1;
    clock_gettime(CLOCK_MONOTONIC, &to);
    printf("%f\\n", (to.tv_sec - from.tv_sec) * 1e3 + (to.tv_nsec - from.tv_nsec) / 1e6);
  }
}
`

/** Returns a function that measures the same steps by a C program, or undefined without a C compiler. */
function plainSteps() {
  const [source, program] = [path.join(base, 'steps.c'), path.join(base, 'steps')]
  fs.writeFileSync(source, STEPS)
  try {
    execFileSync('cc', ['-O2', '-o', program, source])
  } catch {
    console.log('skipped: the same steps by a C program, for there is no cc')
    return undefined
  }
  return async () => {
    const child = spawn(program, [path.join(base, fresh()), String(SAMPLES)])
    let output = ''
    for await (const chunk of child.stdout) output += chunk
    return percentiles(output.trim().split('\n').map(Number))
  }
}

const show = ({ p50, p99 }) => `p50 ${p50.toFixed(1).padStart(6)}  p99 ${p99.toFixed(1).padStart(6)} ms`

function print(name, alone, beside) {
  const more = (beside.p99 - alone.p99).toFixed(1)
  console.log(`${name.padEnd(34)} alone ${show(alone)}   beside ${show(beside)}   p99 ${more} ms more`)
}

try {
  const store = await VolumeStore.open({ home: path.join(base, 'home') })
  const source = path.join(base, 'source')
  for (let file = 0; file < FILES; file++) {
    const dir = path.join(source, `dir-${file % 20}`)
    fs.mkdirSync(dir, { recursive: true })
    fs.writeFileSync(path.join(dir, `file-${file}`), Buffer.alloc(BYTES, 'x'))
  }
  const targets = {
    'without a quota': await store.createVolume('plain'),
    'with a quota': await store.createVolume('limited', { quotaMib: 1 << 20 }),
  }
  const used = await store.createVolume('used', { labels: { used: 'yes' } })
  const files = used.fs()
  const quoted = (await store.createVolume('quoted', { quotaMib: 64 })).fs()
  const chunk = Buffer.alloc(1 << 20, 1)
  const stream = files.writeStream('streamed')
  const written = () => new Promise((resolve, reject) =>
    stream.write(chunk, (error) => (error ? reject(error) : resolve())))
  const operations = {
    'write of 1 byte': () => files.write('f', 'x'),
    'write of 1 byte, with a quota': () => quoted.write('f', 'x'),
    'stream chunk of 1 MiB': written,
    list: () => files.list(''),
    getVolume: () => store.getVolume('used'),
    listVolumes: () => store.listVolumes({ labels: { used: 'yes' } }),
    'createVolume (syncs)': () => store.createVolume(fresh()),
    'attach (syncs)': () => store.attach(fresh(), { '/data': Mount.named('used') }),
  }
  const alone = {}
  for (const [name, operation] of Object.entries(operations)) alone[name] = await measure(operation)
  const steps = plainSteps()
  const stepsAlone = await steps?.()
  for (const [kind, volume] of Object.entries(targets)) {
    console.log(`beside ${COPIES} copies ${kind}`)
    const stop = keepCopying(() => volume.fs().copyIn(source, fresh()))
    for (const [name, operation] of Object.entries(operations)) print(name, alone[name], await measure(operation))
    await stop()
  }
  if (steps !== undefined) {
    const copy = () => new Promise((resolve) =>
      spawn('cp', ['-r', source, path.join(base, fresh())]).on('close', resolve))
    const stop = keepCopying(copy)
    print(`createVolume's steps in C, beside cp`, stepsAlone, await steps())
    await stop()
  }
} finally {
  fs.rmSync(base, { recursive: true, force: true })
}
