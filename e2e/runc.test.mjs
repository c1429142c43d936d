import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { chmodSync, copyFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { Mount } from '../index.js'
import { findTool } from '../examples/sandboxes/host-system.mjs'
import { definesAll } from './any-sandbox.mjs'
import * as runc from './sandboxes/runc.mjs'
import { NOBODY, needsRoot, openStore, suite, temporaryDirectory } from './support.mjs'

const SCRIPT = '#!/bin/sh\necho script ran\n'
const EXECUTE = '/data/script; /data/busybox echo binary ran'

suite('runc', runc.unavailable(), () => {
  definesAll(runc)

  for (const source of ['a volume', 'a directory of the host']) {
    test(`neither a script nor a binary on ${source} is executed with noexec; without it both are`, async (t) => {
      const store = await openStore(t)
      const volume = await store.createVolume('data')
      const directory = source === 'a volume' ? volume.path : temporaryDirectory(t)
      copyFileSync(runc.busybox, join(directory, 'busybox'))
      writeFileSync(join(directory, 'script'), SCRIPT, { mode: 0o755 })
      const execute = async (options) => {
        const mount = source === 'a volume' ? Mount.named('data', options) : Mount.bind(directory, options)
        return runc.run(await store.attach('exec', { '/data': mount }), EXECUTE)
      }
      const refused = await execute({ noexec: true })
      assert.equal(refused.stdout, '')
      assert.match(refused.stderr, /\/data\/script: Permission denied/)
      assert.match(refused.stderr, /\/data\/busybox: Permission denied/)
      assert.equal((await execute({})).stdout, 'script ran\nbinary ran\n')
    })
  }

  test('a device node on a volume cannot be opened with nodev; without it, it can', needsRoot, async (t) => {
    const store = await openStore(t)
    const volume = await store.createVolume('data')
    spawnSync('mknod', ['-m', '666', join(volume.path, 'zero'), 'c', '1', '5'])
    const read = async (options) =>
      runc.run(await store.attach('device', { '/data': Mount.named('data', options) }), 'head -c 3 /data/zero | wc -c')
    const refused = await read({ nodev: true })
    assert.equal(refused.stdout.trim(), '0')
    assert.match(refused.stderr, /\/data\/zero: Permission denied/)
    assert.equal((await read({})).stdout.trim(), '3')
  })

  test('a setuid program on a volume gives no user root rights with nosuid; without it, it does', needsRoot, async (t) => {
    const store = await openStore(t)
    const volume = await store.createVolume('data')
    copyFileSync(findTool('id'), join(volume.path, 'id'))
    chmodSync(join(volume.path, 'id'), 0o4755)
    const asNobody = ({ process }) => {
      process.user = { uid: NOBODY, gid: NOBODY }
      process.noNewPrivileges = false
    }
    const effectiveUser = async (options) => {
      const attachment = await store.attach('setuid', { '/data': Mount.named('data', options) })
      return runc.run(attachment, '/data/id -u', { adjust: asNobody, hostLibraries: true })
    }
    assert.deepEqual(await effectiveUser({ nosuid: true }), { status: 0, stdout: `${NOBODY}\n`, stderr: '' })
    assert.deepEqual(await effectiveUser({}), { status: 0, stdout: '0\n', stderr: '' })
  })

  test('a tmpfs executes nothing with noexec; without it, it does', async (t) => {
    const store = await openStore(t)
    const script = `cp /bin/busybox /data; printf '${SCRIPT.replaceAll('\n', '\\n')}' > /data/script
      chmod +x /data/script; ${EXECUTE}`
    const execute = async (options) => runc.run(await store.attach('exec', { '/data': Mount.tmpfs(options) }), script)
    const refused = await execute({ noexec: true })
    assert.equal(refused.stdout, '')
    assert.match(refused.stderr, /\/data\/busybox: Permission denied/)
    assert.equal((await execute({})).stdout, 'script ran\nbinary ran\n')
  })

  test('a device node made on a tmpfs cannot be opened with nodev; without it, it can', needsRoot, async (t) => {
    const store = await openStore(t)
    const mayMakeNodes = ({ process: { capabilities } }) =>
      Object.values(capabilities).forEach((set) => set.push('CAP_MKNOD'))
    const script = 'mknod /data/zero c 1 5 && echo made; head -c 3 /data/zero | wc -c'
    const read = async (options) =>
      runc.run(await store.attach('device', { '/data': Mount.tmpfs(options) }), script, { adjust: mayMakeNodes })
    const refused = await read({ nodev: true })
    assert.deepEqual(refused.stdout.trim().split(/\s+/), ['made', '0'])
    assert.match(refused.stderr, /\/data\/zero: Permission denied/)
    assert.deepEqual((await read({})).stdout.trim().split(/\s+/), ['made', '3'])
  })

  test('each mount has the flags that it asked for, and only those', async (t) => {
    const store = await openStore(t)
    await store.createVolume('data')
    const all = { readonly: true, noexec: true, nosuid: true, nodev: true }
    const combinations = [{}, all, ...Object.keys(all).map((flag) => ({ [flag]: true }))]
    const mounts = combinations.flatMap((flags, index) => [
      [`/tmpfs-${index}`, Mount.tmpfs(flags)],
      [`/named-${index}`, Mount.named('data', flags)],
    ])
    const { stdout } = runc.run(await store.attach('flags', Object.fromEntries(mounts)), 'cat /proc/mounts')
    const made = new Map(stdout.trim().split('\n').map((line) => [line.split(' ')[1], line.split(' ')[3].split(',')]))
    for (const [path, mount] of mounts) {
      const wanted = [mount.readonly ? 'ro' : 'rw', ...['noexec', 'nosuid', 'nodev'].filter((flag) => mount[flag])]
      const actual = made.get(path).filter((option) => ['ro', 'rw', ...Object.keys(all)].includes(option))
      assert.deepEqual(actual.sort(), wanted.sort(), path)
    }
  })
})
