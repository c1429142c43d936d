// In a virtual machine: the output of `toQemu()`, checked by the kernel of the guest, `e2fsck` and `qemu-img`.
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { copyFileSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { Mount, VolumeStore } from '../index.js'
import { findTool } from '../examples/sandboxes/host-system.mjs'
import * as qemu from '../examples/sandboxes/qemu.mjs'
import * as virtiofsd from '../examples/sandboxes/virtiofsd.mjs'
import { openStore, snapshot, suite, temporaryDirectory } from './support.mjs'

const sha256 = (file) => createHash('sha256').update(readFileSync(file)).digest('hex')

/** Asserts that the ext4 of a raw image was unmounted and has no fault. */
function assertClean(image) {
  const { status, stdout, stderr } = spawnSync(findTool('e2fsck'), ['-fn', image], { encoding: 'utf8' })
  assert.equal(status, 0, stdout + stderr)
  assert.match(execFileSync(findTool('dumpe2fs'), ['-h', image], { encoding: 'utf8', stdio: 'pipe' }), /state: +clean/)
}

const TREE = {
  empty: '',
  'with space and ünicode': 'text\n',
  large: randomBytes(3 * 2 ** 20 + 5),
  'deep/er/file': 'below\n',
}

/** Returns the files of a tree as `sha256sum` lists them. */
const LISTED = Object.keys(TREE)
  .sort()
  .map((path) => `${createHash('sha256').update(TREE[path]).digest('hex')}  ./${path}\n`)
  .join('')
const list = (directory) => `cd ${directory} && find . -type f | sort | tr '\\n' '\\0' | xargs -0 sha256sum`

/** Creates one tree in a raw, a qcow2 and a vmdk image, keyed by format. */
function imagesOfOneTree(t) {
  const directory = temporaryDirectory(t)
  const tree = join(directory, 'tree')
  for (const [path, content] of Object.entries(TREE)) {
    mkdirSync(dirname(join(tree, path)), { recursive: true })
    writeFileSync(join(tree, path), content)
  }
  const images = Object.fromEntries(['raw', 'qcow2', 'vmdk'].map((format) => [format, join(directory, `disk.${format}`)]))
  execFileSync(findTool('mkfs.ext4'), ['-q', '-F', '-d', tree, images.raw, '32m'], { stdio: 'pipe' })
  for (const format of ['qcow2', 'vmdk']) {
    execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', format, images.raw, images[format]])
  }
  return images
}

/** Returns why images cannot be created or checked here, or null. */
function toolless() {
  const missing = ['qemu-img', 'mkfs.ext4'].find((tool) => findTool(tool) === null)
  return missing === undefined ? null : `${missing} is not installed`
}

suite('QEMU', qemu.unavailable() ?? toolless(), () => {
  test('what a guest wrote to a disk volume is whole, and the next guest reads it', async (t) => {
    // A path that the syntax of QEMU would split.
    const store = await VolumeStore.open({ home: join(temporaryDirectory(t), 'a,b="c" {d}') })
    await store.createVolume('disk', { kind: 'disk', sizeMib: 64 })
    const attach = (name) => store.attach(name, { '/data': Mount.named('disk') })

    const first = await attach('first')
    const write = `mkdir /data/dir && dd if=/dev/urandom of=/data/dir/random bs=1048576 count=8 2>/dev/null
      ln -s dir/random /data/link && sha256sum < /data/dir/random && grep ' /data ' /proc/mounts`
    const wrote = await qemu.run(first, write)
    assert.equal(wrote.stderr, '')
    assert.match(wrote.stdout, /^\/dev\/vda \/data ext4 rw,/m)
    assertClean(first.mounts[0].hostPath)
    await first.detach()

    const second = await attach('second')
    const read = await qemu.run(second, 'sha256sum < /data/link && rm -r /data/dir && ls /data')
    assert.deepEqual(read, { status: 0, stdout: `${wrote.stdout.split('\n')[0]}\nlink\nlost+found\n`, stderr: '' })
    assertClean(second.mounts[0].hostPath)
  })

  test('a disk whose guest died has all that was synced, once it was repaired', async (t) => {
    const store = await openStore(t)
    await store.createVolume('disk', { kind: 'disk', sizeMib: 64 })
    const attach = (options) => store.attach('worker', { '/data': Mount.named('disk', options) })

    const first = await attach({})
    const die = 'echo synced > /data/file; sync; echo lost > /data/other; echo c > /proc/sysrq-trigger'
    await assert.rejects(qemu.run(first, die), /The guest did not end well[^]*sysrq triggered crash/)
    await first.detach()

    const sealed = await attach({ readonly: true })
    const refused = await qemu.run(sealed, 'cat /data/file')
    assert.equal(refused.stdout, '')
    assert.match(refused.stderr, /mount: .*\/data/)
    await sealed.detach()

    const second = await attach({})
    assert.deepEqual(await qemu.run(second, 'cat /data/file'), { status: 0, stdout: 'synced\n', stderr: '' })
    assertClean(second.mounts[0].hostPath)
  })

  test('a raw, a qcow2 and a vmdk image of one tree show it alike, and take what is written', async (t) => {
    const images = imagesOfOneTree(t)
    const store = await openStore(t)
    const mounts = Object.entries(images).map(([format, image]) => [`/${format}`, Mount.disk(image)])
    const attachment = await store.attach('formats', Object.fromEntries(mounts))
    assert.deepEqual(attachment.mounts.map(({ format }) => format).sort(), Object.keys(images).sort())
    const lists = Object.keys(images).map((format) => list(`/${format}`))
    const writes = Object.keys(images).map((format) => `echo ${format} > /${format}/written`)
    const { status, stdout, stderr } = await qemu.run(attachment, [...lists, ...writes].join('\n'))
    assert.deepEqual({ status, stdout, stderr }, { status: 0, stdout: LISTED.repeat(3), stderr: '' })

    for (const [format, image] of Object.entries(images)) {
      const raw = `${image}.raw`
      execFileSync('qemu-img', ['convert', '-f', format, '-O', 'raw', image, raw])
      assertClean(raw)
      const read = execFileSync(findTool('debugfs'), ['-R', 'cat /written', raw], { encoding: 'utf8', stdio: 'pipe' })
      assert.equal(read, `${format}\n`)
      if (format !== 'raw') {
        execFileSync('qemu-img', ['check', '-q', '-f', format, image], { stdio: 'pipe' })
      }
    }
  })

  test('a read-only disk refuses the guest’s root, through the file system and past it', async (t) => {
    const images = imagesOfOneTree(t)
    const before = Object.values(images).map(sha256)
    const store = await openStore(t)
    const mounts = Object.entries(images).map(([format, image]) => [`/${format}`, Mount.disk(image, { readonly: true })])
    const attachment = await store.attach('sealed', Object.fromEntries(mounts))
    const script = Object.keys(images).map(
      (format) => `${list(`/${format}`)}
        echo x > /${format}/new && echo written
        mount -o remount,rw /${format} && echo x > /${format}/new && echo written after a remount
        dd if=/dev/zero of=$(grep ' /${format} ' /proc/mounts | cut -d' ' -f1) count=1 && echo written past it`,
    )
    const { stdout, stderr } = await qemu.run(attachment, script.join('\n'))
    assert.equal(stdout, LISTED.repeat(3))
    assert.equal(stderr.match(/new: Read-only file system/g).length, 3)
    assert.equal(stderr.match(/^dd: /gm).length, 3)
    assert.deepEqual(Object.values(images).map(sha256), before)
  })

  test('a tmpfs takes what its size allows, and a read-only one what is mounted in it', async (t) => {
    const store = await openStore(t)
    const attachment = await store.attach('scratch', {
      "/it's $HOME": Mount.tmpfs({ sizeMib: 2, noexec: true }),
      '/sealed': Mount.tmpfs({ readonly: true, nosuid: true }),
      '/sealed/in/ner': Mount.tmpfs({ nodev: true }),
    })
    const script = `cd "/it's \\$HOME"; stat -c %a .
      dd if=/dev/zero of=fits bs=1048576 count=1 2>/dev/null && echo fits; dd if=/dev/zero of=more bs=1048576 count=2
      cp /bin/busybox /script /sealed/in/ner; cp /bin/busybox . ; ./busybox true
      ls /sealed /sealed/in/ner; echo x > /sealed/new; grep sealed /proc/mounts | cut -d, -f1-2`
    const { stdout, stderr } = await qemu.run(attachment, script)
    assert.equal(
      stdout,
      '1777\nfits\n/sealed:\nin\n\n/sealed/in/ner:\nbusybox\nscript\n' +
        'tmpfs /sealed tmpfs ro,nosuid\ntmpfs /sealed/in/ner tmpfs rw,nodev\n',
    )
    assert.match(stderr, /No space left on device/)
    assert.match(stderr, /busybox: Permission denied/)
    assert.match(stderr, /\/sealed\/new: Read-only file system/)
  })
})

suite('QEMU with virtiofs', qemu.unavailable() ?? virtiofsd.unavailable(), () => {
  test('a directory is read and written by both sides', async (t) => {
    const store = await openStore(t)
    const volume = await store.createVolume('shared')
    const directory = temporaryDirectory(t)
    writeFileSync(join(directory, 'from-host'), 'bound\n')
    await volume.fs().writeString('from-host', 'named\n')
    const attachment = await store.attach('both', {
      '/named': Mount.named('shared', { statVirtualization: 'off' }),
      '/bound': Mount.bind(directory, { hostPermissions: 'mirror' }),
    })
    const script = ['/named', '/bound']
      .map((at) => `cat ${at}/from-host; mkdir ${at}/dir; echo guest > ${at}/dir/new; chmod 700 ${at}/dir/new; rm ${at}/from-host`)
      .join('\n')
    assert.deepEqual(await qemu.run(attachment, script), { status: 0, stdout: 'named\nbound\n', stderr: '' })
    assert.equal(await volume.fs().readString('dir/new'), 'guest\n')
    for (const root of [volume.path, directory]) {
      assert.deepEqual(snapshot(root), { dir: '755 not a file', 'dir/new': '700 guest\n' })
    }
  })

  test('a read-only directory refuses the guest’s root, also when it is mounted again', async (t) => {
    const store = await openStore(t)
    const volume = await store.createVolume('sealed')
    await volume.fs().writeString('file', 'old\n')
    const attachment = await store.attach('sealed', { '/data': Mount.named('sealed', { readonly: true }) })
    const script = `cat /data/file; echo x > /data/new; mount -o remount,rw /data && echo mounted again
      echo x > /data/new; echo x > /data/file; rm /data/file; chmod 777 /data/file`
    const { stdout, stderr } = await qemu.run(attachment, script)
    assert.equal(stdout, 'old\nmounted again\n')
    assert.equal(stderr.match(/Read-only file system/g).length, 5)
    assert.deepEqual(snapshot(volume.path), { file: '644 old\n' })
  })

  test('flags hold in the guest: what is executed, whose it is, and devices', async (t) => {
    const store = await openStore(t)
    const volume = await store.createVolume('data')
    copyFileSync(findTool('busybox'), join(volume.path, 'busybox'))
    spawnSync('mknod', [join(volume.path, 'zero'), 'c', '1', '5'])
    const flags = { noexec: true, nosuid: true, nodev: true }
    const attachment = await store.attach('flags', { '/plain': Mount.named('data'), '/strict': Mount.named('data', flags) })
    const script = ['/plain', '/strict'].map((at) => `${at}/busybox echo ran; head -c 3 ${at}/zero | wc -c`).join('\n')
    const { stdout, stderr } = await qemu.run(attachment, `${script}\ngrep strict /proc/mounts | cut -d' ' -f4`)
    assert.equal(stdout, 'ran\n3\n0\nrw,nosuid,nodev,noexec,relatime\n')
    assert.match(stderr, /strict\/busybox: Permission denied/)
    assert.match(stderr, /strict\/zero: Permission denied/)
  })

  test('a disk, a directory in it and a tmpfs in that arrive in their order', async (t) => {
    const store = await openStore(t)
    await store.createVolume('disk', { kind: 'disk', sizeMib: 64 })
    const volume = await store.createVolume('dir')
    await volume.fs().writeString('seed', 'seed\n')
    const attachment = await store.attach('nested', {
      '/data/sub/tmp': Mount.tmpfs(),
      '/data/sub': Mount.named('dir'),
      '/data': Mount.named('disk'),
    })
    const script = `grep ' /data' /proc/mounts | cut -d' ' -f2,3; cat /data/sub/seed
      echo x > /data/x; echo y > /data/sub/y; echo z > /data/sub/tmp/z; find /data -type f | sort`
    const { status, stdout, stderr } = await qemu.run(attachment, script)
    assert.deepEqual({ status, stderr }, { status: 0, stderr: '' })
    assert.equal(
      stdout,
      '/data ext4\n/data/sub virtiofs\n/data/sub/tmp tmpfs\nseed\n/data/sub/seed\n/data/sub/tmp/z\n/data/sub/y\n/data/x\n',
    )
    assert.deepEqual(Object.keys(snapshot(volume.path)), ['seed', 'tmp', 'y'])
    assert.ok(statSync(join(volume.path, 'tmp')).isDirectory())
    assertClean(attachment.mounts.find(({ guestPath }) => guestPath === '/data').hostPath)
  })
})
