import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { chmodSync, copyFileSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { Mount } from '../index.js'
import { findTool, hostSystem } from '../examples/sandboxes/host-system.mjs'
import { definesAll } from './any-sandbox.mjs'
import * as podman from './sandboxes/podman.mjs'
import { NOBODY, needsRoot, openStore, suite, temporaryDirectory } from './support.mjs'

const FLAGS = ['readonly', 'noexec', 'nosuid', 'nodev']

suite('Podman', podman.unavailable(), () => {
  definesAll(podman)

  test('each bind mount has the flags that it asked for, and only those', async (t) => {
    const store = await openStore(t)
    await store.createVolume('data')
    const combinations = [[], FLAGS, ...FLAGS.map((flag) => [flag])]
    const mounts = combinations.map((flags, index) => [
      `/data-${index}`,
      Mount.named('data', Object.fromEntries(flags.map((flag) => [flag, true]))),
    ])
    const made = await mountsIn(await store.attach('flags', Object.fromEntries(mounts)))
    combinations.forEach((flags, index) => {
      const wanted = [flags.includes('readonly') ? 'ro' : 'rw', ...flags.filter((flag) => flag !== 'readonly')]
      const actual = made.get(`/data-${index}`).filter((option) => ['ro', 'rw', ...FLAGS].includes(option))
      assert.deepEqual(actual.sort(), wanted.sort())
    })
  })

  test('each tmpfs has the flags that it asked for, and always nosuid and nodev', async (t) => {
    const store = await openStore(t)
    const combinations = [[], FLAGS, ...FLAGS.map((flag) => [flag])]
    const mounts = combinations.map((flags, index) => [
      `/tmpfs-${index}`,
      Mount.tmpfs(Object.fromEntries(flags.map((flag) => [flag, true]))),
    ])
    const made = await mountsIn(await store.attach('flags', Object.fromEntries(mounts)))
    combinations.forEach((flags, index) => {
      const wanted = [
        flags.includes('readonly') ? 'ro' : 'rw',
        ...(flags.includes('noexec') ? ['noexec'] : []),
        ...['nosuid', 'nodev'],
      ]
      const actual = made.get(`/tmpfs-${index}`).filter((option) => ['ro', 'rw', ...FLAGS].includes(option))
      assert.deepEqual(actual.sort(), wanted.sort())
    })
  })

  for (const [kind, options] of [
    ['volume', (flags) => Mount.named('data', flags)],
    ['tmpfs', (flags) => Mount.tmpfs(flags)],
  ]) {
    test(`nothing on a ${kind} is executed with noexec; without it, it is`, async (t) => {
      const store = await openStore(t)
      await store.createVolume('data')
      const script = 'cp /bin/busybox /data && /data/busybox echo ran'
      const execute = async (flags) => podman.run(await store.attach('exec', { '/data': options(flags) }), script)
      const refused = await execute({ noexec: true })
      assert.equal(refused.stdout, '')
      assert.match(refused.stderr, /\/data\/busybox: Permission denied/)
      assert.equal((await execute({})).stdout, 'ran\n')
    })
  }

  test('a setuid program on a volume gives no user root rights with nosuid; without it, it does', needsRoot, async (t) => {
    const store = await openStore(t)
    const volume = await store.createVolume('data')
    copyFileSync(findTool('id'), join(volume.path, 'id'))
    chmodSync(join(volume.path, 'id'), 0o4755)
    const libraries = hostSystem().filter(({ path }) => path.startsWith('/lib') || path === '/usr')
    const prepare = (rootfs) =>
      libraries.filter(({ link }) => link !== null).forEach(({ path, link }) => symlinkSync(link, join(rootfs, path)))
    const extra = [
      ...['--user', `${NOBODY}:${NOBODY}`, '--security-opt', 'no-new-privileges=false', '--cap-add', 'SETUID'],
      ...libraries
        .filter(({ link }) => link === null)
        .flatMap(({ path }) => ['--mount', `type=bind,source=${path},destination=${path},readonly`]),
    ]
    const effectiveUser = async (options) => {
      const attachment = await store.attach('setuid', { '/data': Mount.named('data', options) })
      return podman.run(attachment, '/data/id -u', { prepare, extra })
    }
    assert.deepEqual(await effectiveUser({ nosuid: true }), { status: 0, stdout: `${NOBODY}\n`, stderr: '' })
    assert.deepEqual(await effectiveUser({}), { status: 0, stdout: '0\n', stderr: '' })
  })

  test('a host path of commas, quotes, colons and spaces is mounted, and so is a guest path', async (t) => {
    const store = await openStore(t)
    const directory = join(temporaryDirectory(t), `a,b"c":d 'e' =é\\`)
    mkdirSync(directory)
    writeFileSync(join(directory, 'seed'), 'seed\n')
    const attachment = await store.attach('quotes', { '/say "hi" =é': Mount.bind(directory) })
    const { stdout, stderr } = podman.run(attachment, `cat '/say "hi" =é/seed'`)
    assert.deepEqual({ stdout, stderr }, { stdout: 'seed\n', stderr: '' })
  })

  test('what is mounted below a source stays out, and is not writable in a readonly one', needsRoot, async (t) => {
    const store = await openStore(t)
    const directory = temporaryDirectory(t)
    mkdirSync(join(directory, 'below'))
    assert.equal(spawnSync('mount', ['-t', 'tmpfs', 'below', join(directory, 'below')]).status, 0)
    try {
      writeFileSync(join(directory, 'below/inner'), '')
      const attachment = await store.attach('below', { '/data': Mount.bind(directory, { readonly: true }) })
      const { stdout, stderr } = podman.run(attachment, 'ls /data/below; echo x > /data/below/new')
      assert.equal(stdout, '')
      assert.match(stderr, /\/data\/below\/new: Read-only file system/)
    } finally {
      assert.equal(spawnSync('umount', ['--lazy', join(directory, 'below')]).status, 0)
    }
  })

  test('a tmpfs is empty where the image has files', async (t) => {
    const store = await openStore(t)
    const prepare = (rootfs) => {
      mkdirSync(join(rootfs, 'scratch'))
      writeFileSync(join(rootfs, 'scratch/from-the-image'), '')
    }
    const attachment = await store.attach('scratch', { '/scratch': Mount.tmpfs() })
    assert.equal(podman.run(attachment, 'ls -A /scratch', { prepare }).stdout, '')
    const without = await store.attach('bare', {})
    assert.equal(podman.run(without, 'ls -A /scratch', { prepare }).stdout, 'from-the-image\n')
  })
})

/** Returns the options of each mount, keyed by its path in the container. */
async function mountsIn(attachment) {
  const { stdout } = podman.run(attachment, 'cat /proc/mounts')
  return new Map(stdout.trim().split('\n').map((line) => [line.split(' ')[1], line.split(' ')[3].split(',')]))
}
