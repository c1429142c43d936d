// readStream and writeStream compared with fs.createReadStream and fs.createWriteStream on the same directory.
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { Readable, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { VolumeStore } from '../index.js'
import { sideBySide } from './side-by-side.mjs'

const LENGTH = 256 << 20
const home = fs.mkdtempSync(path.join(os.tmpdir(), 'sandbox-volumes-bench-'))
try {
  const store = await VolumeStore.open({ home })
  const volume = await store.createVolume('bench')
  const files = volume.fs()
  const inVolume = (name) => path.join(volume.path, name)

  const chunk = Buffer.alloc(1 << 20, 1)
  const data = (size) => Readable.from(function* () {
    for (let sent = 0; sent < LENGTH; sent += size) yield chunk.subarray(0, size)
  }())
  const nowhere = () => new Writable({ write: (_chunk, _encoding, done) => done() })
  await pipeline(data(1 << 20), files.writeStream('file'))

  const once = { operations: 1, rounds: 5 }
  await sideBySide('read 256 MiB', {
    readStream: () => pipeline(files.readStream('file'), nowhere()),
    createReadStream: () => pipeline(fs.createReadStream(inVolume('file')), nowhere()),
  }, once)
  for (const size of [64 << 10, 1 << 20]) {
    await sideBySide(`write 256 MiB in chunks of ${size >> 10} KiB`, {
      writeStream: () => pipeline(data(size), files.writeStream('a')),
      createWriteStream: () => pipeline(data(size), fs.createWriteStream(inVolume('b'))),
    }, once)
  }
  await sideBySide('copy 256 MiB from file to file', {
    'readStream to writeStream': () => pipeline(files.readStream('file'), files.writeStream('a')),
    'createReadStream to createWriteStream': () =>
      pipeline(fs.createReadStream(inVolume('file')), fs.createWriteStream(inVolume('b'))),
  }, once)
  await sideBySide('write 100,000 chunks of 1 byte', {
    writeStream: () => writeBytes(files.writeStream('a')),
    createWriteStream: () => writeBytes(fs.createWriteStream(inVolume('b'))),
  }, once)
} finally {
  fs.rmSync(home, { recursive: true })
}

/** Writes byte by byte, and waits for `drain` if the stream requests it. */
async function writeBytes(stream) {
  const byte = Buffer.from('x')
  for (let written = 0; written < 100_000; written++) {
    if (!stream.write(byte)) await new Promise((resolve) => stream.once('drain', resolve))
  }
  await new Promise((resolve) => stream.end(resolve))
}
