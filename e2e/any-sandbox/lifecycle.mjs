// Named mounts from the first attach to the removal of the volume.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  Mount,
  UnsupportedMountError,
  VolumeAlreadyExistsError,
  VolumeIncompatibleError,
  VolumeInUseError,
  VolumeNotFoundError,
} from '../../index.js'
import { openStore, start } from '../support.mjs'

const ADD_A_LINE = 'echo line >> /data/log; wc -l < /data/log'
const volumeNames = async (store) => (await store.listVolumes()).map(({ name }) => name)

export function definesLifecycle(sandbox) {
  test('a mount that creates its volume is used at once, and refuses to find the volume there', async (t) => {
    const store = await openStore(t)
    const mount = Mount.namedWith('fresh', {}, { mode: 'create', quotaMib: 8, labels: { made: 'by attach' } })
    const attachment = await store.attach('first', { '/data': mount })
    assert.equal(sandbox.run(attachment, ADD_A_LINE).stdout.trim(), '1')
    const { quotaMib, labels } = await store.getVolume('fresh')
    assert.deepEqual({ quotaMib, labels }, { quotaMib: 8, labels: { made: 'by attach' } })
    await assert.rejects(store.attach('second', { '/data': mount }), VolumeAlreadyExistsError)
    assert.equal(await (await store.getVolume('fresh')).fs().readString('log'), 'line\n')
  })

  test('a mount that ensures its volume creates it once, and then finds what is in it', async (t) => {
    const store = await openStore(t)
    const ensure = (quotaMib) => Mount.namedWith('kept', {}, { mode: 'ensure-exists', quotaMib })
    for (const lines of ['1', '2', '3']) {
      const attachment = await store.attach(`run-${lines}`, { '/data': ensure(8) })
      assert.equal(sandbox.run(attachment, ADD_A_LINE).stdout.trim(), lines)
      await attachment.detach()
    }
    await assert.rejects(store.attach('other', { '/data': ensure(9) }), VolumeIncompatibleError)
    assert.equal((await store.getVolume('kept')).quotaMib, 8)
  })

  test('a mount of an existing volume finds it, and fails without one, leaving nothing behind', async (t) => {
    const store = await openStore(t)
    const mounts = {
      '/data': Mount.namedWith('data', {}, { mode: 'existing' }),
      '/more': Mount.namedWith('more', {}, { mode: 'create' }),
    }
    await assert.rejects(store.attach('early', mounts), VolumeNotFoundError)
    assert.deepEqual(await volumeNames(store), [])

    await store.createVolume('data')
    const attachment = await store.attach('later', mounts)
    assert.equal(sandbox.run(attachment, ADD_A_LINE).stdout.trim(), '1')
    assert.deepEqual((await volumeNames(store)).sort(), ['data', 'more'])
  })

  test('a volume is not removed under a running sandbox, and is once that is detached', async (t) => {
    const store = await openStore(t)
    const volume = await store.createVolume('busy')
    await volume.fs().writeString('seed', 'seed\n')
    const attachment = await store.attach('worker', { '/data': Mount.named('busy') })
    const worker = start(t, sandbox.command(attachment, 'echo ready; read go; cat /data/seed'))
    assert.equal(await worker.nextLine(), 'ready')

    await assert.rejects(store.removeVolume('busy'), (error) => {
      assert.ok(error instanceof VolumeInUseError)
      assert.deepEqual(error.sandboxes, ['worker'])
      return true
    })
    worker.say('go')
    assert.equal(await worker.nextLine(), 'seed', 'nothing was taken away')
    assert.equal(await worker.end(), 0)

    await assert.rejects(volume.remove(), VolumeInUseError, 'the attachment counts, not the sandbox')
    await attachment.detach()
    await volume.remove()
    assert.deepEqual(await volumeNames(store), [])
  })

  test('two running sandboxes share a volume, and each has to let go of it', async (t) => {
    const store = await openStore(t)
    await store.createVolume('shared')
    const attach = (name) => store.attach(name, { '/data': Mount.named('shared') })
    const [first, second] = [await attach('first'), await attach('second')]
    const reader = start(t, sandbox.command(first, 'echo ready; read go; cat /data/from-second'))
    assert.equal(await reader.nextLine(), 'ready')

    assert.equal(sandbox.run(second, 'echo hello > /data/from-second').status, 0)
    reader.say('go')
    assert.equal(await reader.nextLine(), 'hello')
    await reader.end()

    const heldBy = async () => (await store.removeVolume('shared').catch((error) => error))?.sandboxes
    assert.deepEqual((await heldBy()).sort(), ['first', 'second'])
    await first.detach()
    assert.deepEqual(await heldBy(), ['second'])
    await second.detach()
    assert.equal(await heldBy(), undefined)
    assert.deepEqual(await volumeNames(store), [])
  })

  for (const [option, value] of Object.entries({ statVirtualization: 'strict', hostPermissions: 'mirror' })) {
    test(`"${option}", which only virtiofs has, is refused by the mount's path`, async (t) => {
      const store = await openStore(t)
      await store.createVolume('data')
      const render = async (options) => {
        const mounts = { '/plain': Mount.named('data'), '/data': Mount.named('data', options) }
        return sandbox.render(await store.attach('virtiofs', mounts))
      }
      await assert.rejects(render({ [option]: value }), (error) => {
        assert.ok(error instanceof UnsupportedMountError)
        assert.equal(error.path, '/data')
        assert.match(error.message, new RegExp(`"/data".*"${option}"`))
        return true
      })
      await assert.doesNotReject(render({}))
    })
  }
}
