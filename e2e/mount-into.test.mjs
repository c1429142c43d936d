// Disk volumes in sandboxes that cannot mount disks: the host mounts them, below the root directory of each
// sandbox.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import { Mount } from '../index.js'
import { findTool } from '../examples/sandboxes/host-system.mjs'
import { launch } from '../examples/sandboxes/launch.mjs'
import * as qemu from '../examples/sandboxes/qemu.mjs'
import * as bubblewrap from './sandboxes/bubblewrap.mjs'
import * as podman from './sandboxes/podman.mjs'
import * as runc from './sandboxes/runc.mjs'
import { needsRoot, openStore, suite, temporaryDirectory } from './support.mjs'

const DISK = { mode: 'ensure-exists', kind: 'disk', sizeMib: 16 }
const none = { toOci: () => [], toDocker: () => [] }

/** Sandboxes that run a script in a root directory with the mounts of `mountInto`. `prepare` gets the directory. */
const SANDBOXES = {
  bubblewrap: {
    unavailable: () => bubblewrap.unavailable() ?? (runc.busybox === null ? 'busybox is not installed' : null),
    async run(t, script, prepare) {
      const rootfs = temporaryDirectory(t)
      ;['dev', 'proc'].forEach((directory) => mkdirSync(join(rootfs, directory)))
      runc.installBusybox(rootfs)
      await prepare(rootfs)
      const root = ['--bind', rootfs, '/', '--dev', '/dev', '--proc', '/proc', '--unshare-all', '--cap-drop', 'ALL']
      return launch({ file: findTool('bwrap'), args: [...root, '/bin/sh', '-c', script] })
    },
  },
  runc: {
    unavailable: runc.unavailable,
    run: (t, script, prepare) => {
      let rootfs
      const adjust = (config) => (config.root.readonly = false)
      const command = runc.command(none, script, { adjust, prepare: (directory) => (rootfs = directory) })
      return runIn(t, command, () => prepare(rootfs))
    },
  },
  podman: {
    unavailable: podman.unavailable,
    run: (t, script, prepare) => {
      let rootfs
      const command = podman.command(none, script, { prepare: (directory) => (rootfs = directory) })
      return runIn(t, command, () => prepare(rootfs))
    },
  },
}

/** `dispose` deletes the root directory. It must wait until nothing is mounted there. */
async function runIn(t, { dispose, ...command }, prepare) {
  t.after(dispose)
  await prepare()
  return launch(command)
}

/**
 * Runs a script with these mounts, and unmounts them before the root directory and what it shows could be deleted.
 */
async function run(t, sandbox, store, mounts, script) {
  const attachment = await store.attach('worker', mounts)
  let rootfs
  const prepare = async (directory) => {
    rootfs = directory
    await attachment.mountInto(rootfs)
    assert.equal(mountedBelow(rootfs).length, Object.keys(mounts).length)
  }
  const ran = await SANDBOXES[sandbox].run(t, script, prepare).finally(() => attachment.detach())
  assert.deepEqual(mountedBelow(rootfs), [])
  return ran
}

const mountedBelow = (rootfs) =>
  readFileSync('/proc/self/mountinfo', 'utf8').split('\n').filter((line) => line.split(' ')[4]?.startsWith(`${rootfs}/`))

const flagsOf = (mounts, path) =>
  mounts.split('\n').map((line) => line.split(' ')).find(([, place]) => place === path)[3].split(',')

describe('Mounted on the host', needsRoot, () => {
  for (const [name, { unavailable }] of Object.entries(SANDBOXES)) {
    suite(name, unavailable(), () => {
      test('reads and writes a disk volume, which is clean afterwards and read by others', { timeout: 120_000 }, async (t) => {
        const store = await openStore(t)
        await store.createVolume('data')
        const mounts = {
          '/db': Mount.namedWith('db', { noexec: true }, DISK),
          '/db/data': Mount.named('data'),
          '/scratch': Mount.tmpfs({ sizeMib: 1 }),
        }
        const write = 'echo from the sandbox > /db/file && echo x > /db/data/x && cat /db/file && cat /proc/mounts'
        const { stdout, stderr } = await run(t, name, store, mounts, write)
        assert.match(stdout, /^from the sandbox\n/)
        assert.equal(stderr, '')
        const flags = flagsOf(stdout, '/db')
        for (const flag of ['rw', 'noexec', 'nosuid', 'nodev']) {
          assert.ok(flags.includes(flag), `${flag} in ${flags}`)
        }
        assert.equal(await (await store.getVolume('data')).fs().readString('x'), 'x\n')

        const image = join((await store.getVolume('db')).path, 'disk.raw')
        const checked = spawnSync('e2fsck', ['-fn', image], { encoding: 'utf8' })
        assert.equal(checked.status, 0, checked.stdout)
        // The kernel detaches the loop device once the last mount namespace that had it is gone, which may be later.
        while (spawnSync('losetup', ['-j', image], { encoding: 'utf8' }).stdout !== '') {
          await setImmediate()
        }

        const readonly = { '/db': Mount.named('db', { readonly: true }) }
        const read = await run(t, name, store, readonly, 'cat /db/file; echo x > /db/file')
        assert.equal(read.stdout, 'from the sandbox\n')
        assert.match(read.stderr, /Read-only file system/)
      })

      test('a tmpfs is full when it is', async (t) => {
        const store = await openStore(t)
        const script = 'dd if=/dev/zero of=/scratch/f bs=1024 count=2048 2> /dev/null; wc -c < /scratch/f'
        const { stdout } = await run(t, name, store, { '/scratch': Mount.tmpfs({ sizeMib: 1 }) }, script)
        assert.equal(Number(stdout), 1 << 20)
      })
    })
  }

  suite('with QEMU', SANDBOXES.bubblewrap.unavailable() ?? qemu.unavailable(), () => {
    test('a virtual machine and a sandbox of the host take turns with a disk volume', async (t) => {
      const store = await openStore(t)
      const mounts = { '/db': Mount.namedWith('db', {}, DISK) }
      await run(t, 'bubblewrap', store, mounts, 'echo from the host > /db/host')
      const attachment = await store.attach('vm', mounts)
      const { status, stdout } = await qemu.run(attachment, 'cat /db/host && echo from the guest > /db/guest')
      await attachment.detach()
      assert.deepEqual({ status, stdout }, { status: 0, stdout: 'from the host\n' })
      assert.equal((await run(t, 'bubblewrap', store, mounts, 'cat /db/guest')).stdout, 'from the guest\n')
    })
  })
})
