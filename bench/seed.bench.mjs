// Seeding 5,000 files of 10 KiB in 100 directories: copyIn, copyOut and copy compared with `cp -r` and with
// fs.promises at 64 at once. Every round creates new names, and nothing is deleted before the end: ext4 avoids
// inodes that were deleted lately, which makes creation after deletion several times slower. So it is slow too if
// other programs delete files on the same file system: TMPDIR sets another one.
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { VolumeStore } from '../index.js'
import { sideBySide } from './side-by-side.mjs'

const [DIRECTORIES, FILES_EACH, BYTES, AT_ONCE, ROUNDS] = [100, 50, 10 * 1024, 64, 5]

const base = fs.mkdtempSync(path.join(os.tmpdir(), 'sandbox-volumes-bench-'))
let made = 0
const fresh = () => `made-${made++}`

function plant(root) {
  const content = Buffer.alloc(BYTES, 'x')
  for (let directory = 0; directory < DIRECTORIES; directory++) {
    const at = path.join(root, `dir-${directory}`)
    fs.mkdirSync(at, { recursive: true })
    for (let file = 0; file < FILES_EACH; file++) {
      fs.writeFileSync(path.join(at, `file-${file}`), content)
    }
  }
}

/** Seeds like an application without copyIn: creates the directories, then copies 64 files at a time. */
async function copyOneByOne(from, to) {
  const files = []
  fs.mkdirSync(to)
  for (const directory of await fs.promises.readdir(from)) {
    await fs.promises.mkdir(path.join(to, directory))
    files.push(...(await fs.promises.readdir(path.join(from, directory))).map((file) => path.join(directory, file)))
  }
  const next = files.values()
  const worker = async () => {
    for (const file of next) {
      await fs.promises.writeFile(path.join(to, file), await fs.promises.readFile(path.join(from, file)))
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, worker))
}

try {
  const store = await VolumeStore.open({ home: path.join(base, 'home') })
  const volume = await store.createVolume('bench')
  const files = volume.fs()
  const [source, inside] = [path.join(base, 'source'), path.join(volume.path, 'source')]
  plant(source)
  plant(inside)
  const others = (from, to) => ({
    'cp -r': () => execFileSync('cp', ['-r', from, path.join(to, fresh())]),
    'cp -r --reflink=never': () => execFileSync('cp', ['-r', '--reflink=never', from, path.join(to, fresh())]),
    'fs.promises, 64 at once': () => copyOneByOne(from, path.join(to, fresh())),
  })
  const shape = `${DIRECTORIES * FILES_EACH} files, ${(DIRECTORIES * FILES_EACH * BYTES) / 1024 / 1024} MiB`
  // Unwritten data of the previous candidate would slow down the next one.
  const run = (title, candidates) => {
    execFileSync('sync', ['-f', base])
    return sideBySide(`${title} ${shape}`, candidates, { operations: 1, rounds: ROUNDS })
  }
  await run('copyIn', { copyIn: () => files.copyIn(source, fresh()), ...others(source, volume.path) })
  await run('copyIn filtered', { 'copyIn with filter and onProgress': () =>
    files.copyIn(source, fresh(), { filter: () => true, onProgress() {} }), ...others(source, volume.path) })
  await run('copyOut', { copyOut: () => files.copyOut('source', path.join(base, fresh())), ...others(inside, base) })
  await run('copy', { copy: () => files.copy('source', fresh()), ...others(inside, volume.path) })
} finally {
  fs.rmSync(base, { recursive: true })
}
