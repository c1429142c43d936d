// The cost of a quota: the same operations on a volume of 100,000 files with a quota and on one without.
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { VolumeStore } from '../index.js'
import { sideBySide } from './side-by-side.mjs'

const home = fs.mkdtempSync(path.join(os.tmpdir(), 'sandbox-volumes-bench-'))
try {
  const store = await VolumeStore.open({ home })
  const volumes = {
    'with a quota': await store.createVolume('limited', { quotaMib: 8192 }),
    'without': await store.createVolume('unlimited'),
  }
  for (const volume of Object.values(volumes)) {
    for (let dir = 0; dir < 1000; dir++) {
      fs.mkdirSync(path.join(volume.path, String(dir)))
      for (let file = 0; file < 100; file++) fs.writeFileSync(path.join(volume.path, String(dir), String(file)), '')
    }
  }
  const small = Buffer.alloc(4096, 1)
  const candidates = (operation) =>
    Object.fromEntries(Object.entries(volumes).map(([name, volume]) => [name, operation(volume.fs())]))

  const start = process.hrtime.bigint()
  await volumes['with a quota'].fs().write('first', small)
  console.log(`the first write measures the volume      ${Number(process.hrtime.bigint() - start) / 1e6} ms`)
  for (const atOnce of [1, 64]) {
    await sideBySide(`overwrite 4 KiB, ${atOnce} at once`,
      candidates((files) => (index) => files.write(`a${index % 64}`, small)), { operations: 3200, atOnce })
    let made = 0
    await sideBySide(`new file of 4 KiB, ${atOnce} at once`,
      candidates((files) => () => files.write(`${made % 1000}/new${made++}`, small)), { operations: 640, atOnce })
  }
} finally {
  fs.rmSync(home, { recursive: true })
}
