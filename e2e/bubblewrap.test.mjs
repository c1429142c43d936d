import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { chmodSync, chownSync, copyFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { Mount, UnsupportedMountError } from '../index.js'
import { findTool } from '../examples/sandboxes/host-system.mjs'
import { launch } from '../examples/sandboxes/launch.mjs'
import { definesHandedSubpath } from './any-sandbox/subpath.mjs'
import { definesAll } from './any-sandbox.mjs'
import * as bubblewrap from './sandboxes/bubblewrap.mjs'
import { NOBODY, needsRoot, openStore, suite, temporaryDirectory } from './support.mjs'

suite('Bubblewrap', bubblewrap.unavailable(), () => {
  definesAll(bubblewrap)
  definesHandedSubpath(bubblewrap)

  for (const kind of ['bind', 'named', 'tmpfs']) {
    test(`noexec, which bubblewrap does not have, is refused for a ${kind} mount by its path`, async (t) => {
      const store = await openStore(t)
      await store.createVolume('data')
      const make = {
        bind: (options) => Mount.bind(temporaryDirectory(t), options),
        named: (options) => Mount.named('data', options),
        tmpfs: (options) => Mount.tmpfs(options),
      }[kind]
      const render = async (options) =>
        bubblewrap.render(await store.attach('strict', { '/other': Mount.tmpfs(), '/data': make(options) }))
      await assert.rejects(render({ noexec: true }), (error) => {
        assert.ok(error instanceof UnsupportedMountError)
        assert.equal(error.path, '/data')
        assert.match(error.message, /Bubblewrap .*"\/data".*"noexec"/)
        return true
      })
      assert.ok((await render({ noexec: false })).includes('/data'))
    })
  }

  test('the descriptor of a part is out of the sandbox’s reach', async (t) => {
    const store = await openStore(t)
    const part = Mount.namedWith('data', { subpath: 'part' }, { mode: 'create' })
    const attachment = await store.attach('part', { '/data': part })
    const { status, stdout } = bubblewrap.run(attachment, 'mkdir /data/in; for fd in /proc/[0-9]*/fd/*; do readlink $fd; done; true')
    assert.equal(status, 0)
    assert.match(stdout, /\/dev\/null|pipe:|socket:/)
    assert.doesNotMatch(stdout, /^\/.*(data|part)/m)
    assert.equal(await (await store.getVolume('data')).fs().exists('part/in'), true)
  })

  test('an ordinary user mounts a part, which a path could not give him', needsRoot, async (t) => {
    const home = temporaryDirectory(t)
    chownSync(home, NOBODY, NOBODY)
    const script = `
      import { spawnSync } from 'node:child_process'
      import { Mount, VolumeStore } from ${JSON.stringify(new URL('../index.js', import.meta.url).href)}
      const store = await VolumeStore.open({ home: ${JSON.stringify(join(home, 'home'))} })
      const part = Mount.namedWith('data', { subpath: 'part' }, { mode: 'create' })
      const attachment = await store.attach('part', { '/data': part })
      const system = ['--ro-bind', '/usr', '/usr', '--symlink', 'usr/lib', '/lib', '--symlink', 'usr/lib64', '/lib64']
      const run = (mounts) => spawnSync('bwrap', [...system, ...mounts, '/usr/bin/touch', '/data/new'], {
        encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe', ...attachment.descriptors()],
      })
      const [byDescriptor, byPath] = [
        run(attachment.toBubblewrap({ firstFd: 3 })),
        run(['--bind', '/proc/' + process.pid + '/fd/' + attachment.descriptors()[0], '/data']),
      ]
      const made = await (await store.getVolume('data')).fs().exists('part/new')
      console.log(JSON.stringify({ status: byDescriptor.status, stderr: byDescriptor.stderr, made, byPath: byPath.stderr }))`
    const asNobody = [`--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups', process.execPath]
    const { stdout, stderr } = spawnSync('setpriv', [...asNobody, '--input-type=module', '-e', script], { encoding: 'utf8' })
    const { byPath, ...byDescriptor } = JSON.parse(stdout || assert.fail(stderr))
    assert.deepEqual(byDescriptor, { status: 0, stderr: '', made: true })
    assert.match(byPath, /Permission denied/)
  })

  test('every mount is nosuid and nodev, asked for or not', async (t) => {
    const store = await openStore(t)
    await store.createVolume('data')
    const directory = temporaryDirectory(t)
    for (const flags of [{}, { nosuid: true, nodev: true }]) {
      const attachment = await store.attach('flags', {
        '/named': Mount.named('data', flags),
        '/bound': Mount.bind(directory, flags),
        '/scratch': Mount.tmpfs(flags),
      })
      const { stdout } = bubblewrap.run(attachment, "grep -E '^[^ ]+ /(named|bound|scratch) ' /proc/mounts")
      const options = stdout.trim().split('\n').map((line) => line.split(' ')[3].split(','))
      assert.equal(options.length, 3)
      options.forEach((set) => assert.ok(set.includes('nosuid') && set.includes('nodev'), set.join()))
    }
  })

  test('a device node on a volume cannot be opened, asked for or not', needsRoot, async (t) => {
    const store = await openStore(t)
    const volume = await store.createVolume('data')
    const node = join(volume.path, 'zero')
    spawnSync('mknod', ['-m', '666', node, 'c', '1', '5'])
    const read = 'head -c 3 /data/zero | wc -c'
    for (const options of [{}, { nodev: true }]) {
      const attachment = await store.attach('device', { '/data': Mount.named('data', options) })
      const { stdout, stderr } = bubblewrap.run(attachment, read)
      assert.equal(stdout.trim(), '0')
      assert.match(stderr, /zero.*Permission denied/)
    }
    const attachment = await store.attach('device', {})
    const withDevices = bubblewrap.run(attachment, read, { extra: ['--dev-bind', volume.path, '/data'] })
    assert.equal(withDevices.stdout.trim(), '3', 'the node itself can be read')
  })

  test('a setuid program on a volume gains nothing, asked for or not', needsRoot, async (t) => {
    const store = await openStore(t)
    const volume = await store.createVolume('data')
    copyFileSync(findTool('id'), join(volume.path, 'id'))
    chmodSync(join(volume.path, 'id'), 0o4755)
    const onHost = spawnSync('./id', ['-u'], { cwd: volume.path, uid: NOBODY, gid: NOBODY, encoding: 'utf8' })
    assert.equal(onHost.stdout, '0\n', 'on the host it makes its user root')

    for (const options of [{}, { nosuid: true }]) {
      const attachment = await store.attach('setuid', { '/tmp': Mount.named('data', options) })
      // In the user namespace of the host, because another one knows no other user.
      const root = ['--ro-bind', '/', '/', '--cap-drop', 'ALL', '--cap-add', 'CAP_SETUID', '--cap-add', 'CAP_SETGID']
      const asNobody = ['setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups', '/tmp/id', '-u']
      const args = [...root, ...bubblewrap.render(attachment), ...asNobody]
      assert.deepEqual(launch({ file: 'bwrap', args }), { status: 0, stdout: `${NOBODY}\n`, stderr: '' })
    }
  })

  test('root cannot undo a readonly mount, unless it is given the capability back', needsRoot, async (t) => {
    const store = await openStore(t)
    const volume = await store.createVolume('data')
    const attachment = await store.attach('undo', { '/mnt': Mount.named('data', { readonly: true }) })
    const script = 'mount -o remount,bind,rw /mnt && echo x > /mnt/escaped'
    const run = (...extra) => {
      const args = ['--ro-bind', '/', '/', ...bubblewrap.render(attachment), ...extra, '/bin/sh', '-c', script]
      return launch({ file: 'bwrap', args })
    }
    assert.notEqual(run().status, 0)
    assert.equal(await volume.fs().exists('escaped'), false)

    assert.equal(run('--cap-add', 'CAP_SYS_ADMIN').status, 0)
    assert.equal(await volume.fs().exists('escaped'), true)
  })
})
