// VolumeFs compared with fs.promises on the same directory.
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { VolumeStore } from '../index.js'
import { sideBySide } from './side-by-side.mjs'

const home = fs.mkdtempSync(path.join(os.tmpdir(), 'sandbox-volumes-bench-'))
try {
  const store = await VolumeStore.open({ home })
  const volume = await store.createVolume('bench')
  const files = volume.fs()
  const inVolume = (name) => path.join(volume.path, name)

  const small = Buffer.alloc(4096, 1)
  await files.write('small', small)
  for (const atOnce of [1, 64]) {
    await sideBySide(`read 4 KiB, ${atOnce} at once`, {
      'VolumeFs.read': () => files.read('small'),
      'fs.promises.readFile': () => fs.promises.readFile(inVolume('small')),
    }, { operations: 3200, atOnce })
    await sideBySide(`overwrite 4 KiB, ${atOnce} at once`, {
      'VolumeFs.write': (index) => files.write(`a${index % 64}`, small),
      'fs.promises.writeFile': (index) => fs.promises.writeFile(inVolume(`b${index % 64}`), small),
    }, { operations: 3200, atOnce })
  }

  const large = Buffer.alloc(64 << 20, 1)
  await files.write('large', large)
  await sideBySide('read 64 MiB', {
    'VolumeFs.read': () => files.read('large'),
    'fs.promises.readFile': () => fs.promises.readFile(inVolume('large')),
  }, { operations: 1 })
  // The time of a write includes its copying, in the call or slice by slice, before another thread writes the data.
  for (const [size, atOnce, operations] of [[1, 1, 64], [1, 16, 64], [4, 1, 16], [64, 1, 1], [64, 4, 4]]) {
    const data = large.subarray(0, size << 20)
    await sideBySide(`overwrite ${size} MiB, ${atOnce} at once`, {
      'VolumeFs.write': (index) => files.write(`large-a${index % atOnce}`, data),
      'fs.promises.writeFile': (index) => fs.promises.writeFile(inVolume(`large-b${index % atOnce}`), data),
    }, { operations, atOnce })
  }
  const limited = (await store.createVolume('limited', { quotaMib: 1024 })).fs()
  await sideBySide('overwrite 64 MiB with a quota', {
    'VolumeFs.write': () => limited.write('large-a', large),
    'fs.promises.writeFile': () => fs.promises.writeFile(inVolume('large-b0'), large),
  }, { operations: 1 })
  await sideBySide('append 64 MiB', {
    'VolumeFs.append': () => files.append('appended-a', large),
    'fs.promises.appendFile': () => fs.promises.appendFile(inVolume('appended-b'), large),
  }, { operations: 1 })
} finally {
  fs.rmSync(home, { recursive: true })
}
