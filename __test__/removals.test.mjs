// Deletions that take long, and what goes on beside them.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { test } from 'node:test'
import { isRoot, runNode, tempDir } from './support.mjs'

/** As many deletions as there are threads for walks of trees, and for deletions. */
const DELETIONS = 8

/** Why programs of the host cannot be replaced for one process here, or false. */
function withoutReplacements() {
  if (!isRoot) return 'replacing a program needs root'
  if (!['/usr/bin/unshare', '/etc/subuid'].every(existsSync)) return 'util-linux or /etc/subuid is missing'
  try {
    execFileSync('unshare', ['--mount', 'true'], { stdio: 'ignore' })
    return false
  } catch {
    return 'this process may not make a mount namespace'
  }
}

// Content of a granted id is deleted by `unshare`. In its place is a program that says when it begins, and then blocks.
const replace = `
mount --bind "$0/grants" /etc/subuid && mount --bind "$0/unshare" /usr/bin/unshare && exec "$@"`

const source = `
import { chownSync, closeSync, mkdirSync, openSync, writeFileSync } from 'node:fs'
import { Socket } from 'node:net'
import { createInterface } from 'node:readline'

const { VolumeStore } = await import(process.env.SV)
const { DIR, DELETIONS, KIND } = process.env
const [user, granted] = [65534, 100005]
process.setegid(user)
process.seteuid(user)
const store = await VolumeStore.open({ home: DIR + '/home/store', durability: 'fast' })
const kept = await store.createVolume('kept')
for (let n = 0; n < 30; n += 1) {
  mkdirSync(kept.path + '/' + n)
  for (let m = 0; m < 200; m += 1) writeFileSync(kept.path + '/' + n + '/' + m, '')
}
const volumes = []
for (let n = 0; n < DELETIONS; n += 1) volumes.push(await store.createVolume('v-' + n))
process.seteuid(0)
for (const { path } of volumes) {
  for (const dir of ['/theirs', '/theirs/dir']) mkdirSync(path + dir)
  for (const dir of ['/theirs/dir', '/theirs']) chownSync(path + dir, granted, granted)
}
// Open for reading and writing, it does not end before this process closes it.
const go = openSync(DIR + '/go', 'r+')
const began = createInterface({ input: new Socket({ fd: openSync(DIR + '/began', 'r+') }) })[Symbol.asyncIterator]()
process.seteuid(user)

let ended = 0
const remove = {
  removeVolume: (volume) => volume.remove(),
  removeAll: (volume) => volume.fs().removeAll('theirs'),
}[KIND]
const removals = volumes.map((volume) => remove(volume).catch(() => {}).finally(() => (ended += 1)))
for (let n = 0; n < DELETIONS; n += 1) await began.next()
const names = (await store.listVolumes()).map((volume) => volume.name).filter((name) => name === 'kept')
const found = await store.getVolume('kept')
console.log(JSON.stringify([ended, names, found.name]))
closeSync(go)
await Promise.all(removals)
console.log(ended)
process.exit()`

for (const kind of ['removeVolume', 'removeAll']) {
  const title = `volumes are measured while ${kind} is at work on all its threads`
  test(title, { skip: withoutReplacements() }, async (t) => {
    const dir = tempDir(t)
    const shell = `
      mkdir home; chown 65534:65534 home; chmod 755 .; mkfifo -m 666 began go; echo 65534:100000:65536 > grants
      printf '#!/bin/sh\\nexec 3< %s/go\\necho > %s/began\\nread line <&3\\nexit 1\\n' "$PWD" "$PWD" > unshare; chmod 755 unshare`
    execFileSync('sh', ['-c', shell], { cwd: dir })
    const { code, stdout, stderr } = await runNode(source, {
      by: ['unshare', '--mount', 'sh', '-c', replace, dir],
      env: { DIR: dir, DELETIONS, KIND: kind },
    })
    assert.equal(code, 0, stderr)
    assert.deepEqual(stdout.trim().split('\n'), [JSON.stringify([0, ['kept'], 'kept']), String(DELETIONS)])
  })
}
