// Directories with many files.
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, rmSync } from 'node:fs'
import path from 'node:path'
import { VolumeStore } from '../index.js'
import { tempVolume } from './support.mjs'

/** Creates a directory with so many empty files. */
export function fill(root, count) {
  mkdirSync(root, { recursive: true })
  for (let index = 0; index < count; index += 1) {
    closeSync(openSync(path.join(root, `file-${index}`), 'w'))
  }
}

/** A volume on tmpfs if there is enough memory, because a disk is slow for so many files. */
export async function volumeInMemory(t) {
  const memory = '/dev/shm'
  if (!existsSync(memory)) {
    return tempVolume(t)
  }
  const home = mkdtempSync(path.join(memory, 'sandbox-volumes-'))
  t.after(() => rmSync(home, { recursive: true }))
  const store = await VolumeStore.open({ home, durability: 'fast' })
  const volume = await store.createVolume('v')
  return { files: volume.fs(), root: volume.path }
}
