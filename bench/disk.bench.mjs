// Creation of a disk volume compared with mkfs.ext4 on a sparse file: time, and space on the host.
import { execFileSync, spawnSync } from 'node:child_process'
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, statSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { VolumeStore } from '../index.js'
import { sideBySide } from './side-by-side.mjs'

const ROUNDS = 7
const hasMkfs = spawnSync('mkfs.ext4', ['-V'], { stdio: 'ignore' }).status === 0
const directory = mkdtempSync(path.join(os.tmpdir(), 'sandbox-volumes-bench-'))
const allocated = (file) => statSync(file).blocks * 512

function mkfs(file, gib) {
  const descriptor = openSync(file, 'wx')
  ftruncateSync(descriptor, gib * 2 ** 30)
  closeSync(descriptor)
  execFileSync('mkfs.ext4', ['-q', '-F', file])
}

try {
  // First without waiting for the disk, like mkfs.ext4, then with.
  for (const durability of ['fast', 'full']) {
    const store = await VolumeStore.open({ home: path.join(directory, durability), durability })
    for (const gib of [1, 20]) {
      const named = (kind, index) => `${kind}-${gib}-${index}`
      let made = 0
      let formatted = 0
      const candidates = {
        'createVolume raw': () => store.createVolume(named('volume', made++), { kind: 'disk', sizeMib: gib * 1024 }),
        'createVolume qcow2': () =>
          store.createVolume(named('qcow2', made++), { kind: 'disk', sizeMib: gib * 1024, format: 'qcow2' }),
      }
      // The cost of the catalog and the directories alone.
      candidates['createVolume dir'] = () => store.createVolume(named('dir', made++))
      if (hasMkfs) {
        candidates['mkfs.ext4'] = () => mkfs(path.join(directory, named(`mkfs-${durability}`, formatted++)), gib)
      }
      await sideBySide(`make ${gib} GiB, durability ${durability}`, candidates, {
        operations: 1,
        rounds: ROUNDS,
        // The sync of the catalog would wait for unwritten data of mkfs.ext4.
        before: () => spawnSync('sync'),
      })
      const { usedBytes } = await store.getVolume(named('volume', 0))
      const ofMkfs = hasMkfs ? `, mkfs.ext4 ${allocated(path.join(directory, named(`mkfs-${durability}`, 0)))}` : ''
      console.log(`${''.padEnd(38)} allocated: createVolume ${usedBytes} bytes${ofMkfs}`)
    }
  }
  if (!hasMkfs) {
    console.log('mkfs.ext4 is not installed, so there was nothing to compare with')
  }
} finally {
  rmSync(directory, { recursive: true })
}
