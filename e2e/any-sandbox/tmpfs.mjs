// tmpfs mounts.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Mount } from '../../index.js'
import { openStore } from '../support.mjs'

const write = (file, mib) => `dd if=/dev/zero of=${file} bs=1048576 count=${mib} && echo ${mib} written`

async function attachTmpfs(t, options, more = {}) {
  const store = await openStore(t)
  return store.attach('scratch', { '/scratch': Mount.tmpfs(options), ...more })
}

export function definesTmpfs(sandbox) {
  test('a tmpfs takes what its size allows and refuses more with ENOSPC', async (t) => {
    const script = `${write('/scratch/fits', 6)}; ${write('/scratch/more', 6)}; wc -c < /scratch/fits`
    const small = sandbox.run(await attachTmpfs(t, { sizeMib: 8 }), script)
    assert.equal(small.stdout, `6 written\n${6 * 2 ** 20}\n`)
    assert.match(small.stderr, /No space left on device/)

    const large = sandbox.run(await attachTmpfs(t, { sizeMib: 64 }), script)
    assert.equal(large.stdout, `6 written\n6 written\n${6 * 2 ** 20}\n`)
  })

  test('a tmpfs is any user’s to write, and every sandbox finds it empty', async (t) => {
    const attachment = await attachTmpfs(t)
    const script = 'ls -A /scratch; stat -c %a /scratch; echo x > /scratch/x; cat /scratch/x'
    assert.equal(sandbox.run(attachment, script).stdout, '1777\nx\n')
    assert.equal(sandbox.run(attachment, script).stdout, '1777\nx\n')
  })

  test('a readonly tmpfs refuses writes, and what is mounted below it appears and keeps its own access', async (t) => {
    const script = 'cat /scratch/volume/seed; echo x > /scratch/volume/new; echo x > /scratch/new && echo written'
    const results = []
    for (const readonly of [true, false]) {
      const store = await openStore(t)
      const volume = await store.createVolume('below')
      await volume.fs().writeString('seed', 'seed\n')
      const attachment = await store.attach('scratch', {
        '/scratch': Mount.tmpfs({ readonly }),
        '/scratch/volume': Mount.named('below'),
      })
      results.push(sandbox.run(attachment, script))
      assert.equal(await volume.fs().readString('new'), 'x\n')
    }
    const [sealed, open] = results
    assert.equal(sealed.stdout, 'seed\n')
    assert.match(sealed.stderr, /\/scratch\/new: Read-only file system/)
    assert.equal(open.stdout, 'seed\nwritten\n')
  })

  test('a tmpfs inside a readonly tmpfs can be written', async (t) => {
    const attachment = await attachTmpfs(t, { readonly: true }, { '/scratch/inner': Mount.tmpfs({ sizeMib: 1 }) })
    const script = 'echo x > /scratch/inner/x; cat /scratch/inner/x; echo x > /scratch/x'
    const { stdout, stderr } = sandbox.run(attachment, script)
    assert.equal(stdout, 'x\n')
    assert.match(stderr, /\/scratch\/x: Read-only file system/)
  })
}
