// Subpaths of volumes. For runtimes that get a descriptor: a guest that has all of the volume tries to replace the
// subpath of another guest by a directory of the host.
import assert from 'node:assert/strict'
import { mkdirSync, renameSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { Mount } from '../../index.js'
import { openStore, snapshot, start, temporaryDirectory } from '../support.mjs'

const SHOW = 'cat /data/whose; echo written > /data/new; ls -a /data/..'

/** Creates a volume `shared` with a directory for each tenant, and a file of the host that no guest may see. */
async function tenants(t, ...names) {
  const store = await openStore(t)
  const volume = await store.createVolume('shared')
  for (const name of names) {
    await volume.fs().mkdir(name)
    await volume.fs().writeString(`${name}/whose`, `${name}\n`)
  }
  const outside = temporaryDirectory(t)
  writeFileSync(join(outside, 'whose'), 'the host\n')
  const part = (name, options) => ({ '/data': Mount.named('shared', { subpath: name, ...options }) })
  return { store, volume, outside, part }
}

export function definesSubpath(sandbox) {
  test('each tenant of a volume sees its part, and nothing beside it', async (t) => {
    const { store, volume, part } = await tenants(t, 'alice', 'bob')
    for (const name of ['alice', 'bob']) {
      const attachment = await store.attach(name, part(name))
      const { status, stdout } = sandbox.run(attachment, SHOW)
      assert.equal(status, 0)
      assert.ok(stdout.startsWith(`${name}\n`), stdout)
      assert.ok(!stdout.includes(name === 'alice' ? 'bob' : 'alice'), stdout)
      assert.equal(await volume.fs().readString(`${name}/new`), 'written\n')
    }
    const sealed = sandbox.run(await store.attach('reader', part('alice', { readonly: true })), SHOW)
    assert.match(sealed.stderr, /Read-only file system/)
  })

  test('a file of a volume is mounted by itself', async (t) => {
    const { store, volume, part } = await tenants(t, 'alice')
    const mounts = { '/conf': part('alice/whose')['/data'] }
    const { status, stdout } = sandbox.run(await store.attach('s', mounts), 'cat /conf; echo new > /conf')
    assert.deepEqual({ status, stdout }, { status: 0, stdout: 'alice\n' })
    assert.equal(await volume.fs().readString('alice/whose'), 'new\n')
  })
}

/** For runtimes that get a descriptor. */
export function definesHandedSubpath(sandbox) {
  test('a link that is put in the place of a part after it was attached changes nothing', async (t) => {
    const { store, volume, outside, part } = await tenants(t, 'alice')
    const before = snapshot(outside)
    const attachment = await store.attach('alice', part('alice'))
    renameSync(join(volume.path, 'alice'), join(volume.path, 'moved'))
    symlinkSync(outside, join(volume.path, 'alice'))
    const { status, stdout } = sandbox.run(attachment, SHOW)
    assert.equal(status, 0)
    assert.ok(stdout.startsWith('alice\n'), stdout)
    assert.equal(await volume.fs().readString('moved/new'), 'written\n')
    assert.deepEqual(snapshot(outside), before)
    // A path in place of the descriptor would have led there.
    const byPath = await store.attach('by-path', { '/data': Mount.bind(attachment.mounts[0].hostPath) })
    assert.equal(byPath.mounts[0].hostPath, outside)
  })

  test('a guest that swaps a part all the time never gets another one out of the volume', async (t) => {
    const { store, volume, outside, part } = await tenants(t, 'alice')
    mkdirSync(join(volume.path, 'ready'))
    const before = snapshot(outside)
    const whole = await store.attach('mallory', { '/data': Mount.named('shared') })
    const swap = `mv /data/alice /data/moved; ln -s ${outside} /data/alice; rm /data/alice; mv /data/moved /data/alice`
    const swapper = start(t, sandbox.command(whole, `echo swapping; while [ -d /data/ready ]; do ${swap}; done`))
    assert.equal(await swapper.nextLine(), 'swapping')
    let [seen, refused, unstarted] = [0, 0, 0]
    while (seen < 10) {
      const attachment = await store.attach('alice', part('alice')).catch((error) => {
        assert.ok(['ERR_PATH_ESCAPE', 'ENOENT'].includes(error.code), error.stack)
        refused += 1
        return null
      })
      if (attachment !== null) {
        // A runtime that notices the move of a source during its mount does not start.
        const { status, stdout } = sandbox.run(attachment, SHOW)
        assert.ok(status === 0 ? stdout.startsWith('alice\n') : stdout === '', stdout)
        seen += status === 0
        unstarted += status !== 0
        await attachment.detach()
      }
    }
    t.diagnostic(`${seen} sandboxes saw the part, ${refused} were refused it, ${unstarted} did not start`)
    assert.deepEqual(snapshot(outside), before)
    await volume.fs().remove('ready')
    await swapper.end()
  })
}
