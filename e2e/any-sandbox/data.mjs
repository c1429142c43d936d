// A volume or a directory of the host: its view in the sandbox, and the effects on the host.
import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { Mount } from '../../index.js'
import { openStore, snapshot, temporaryDirectory } from '../support.mjs'

/** Tries every way to change the entry at /data. Returns the names of those that worked. */
const CHANGES = {
  overwrite: 'echo changed > /data/overwrite',
  append: 'echo more >> /data/append',
  create: 'echo new > /data/created',
  mkdir: 'mkdir /data/made',
  remove: 'rm -f /data/remove && test ! -e /data/remove',
  rename: 'mv /data/rename /data/renamed',
  chmod: 'chmod 600 /data/chmod',
}
const CHANGE_EVERYTHING = Object.entries(CHANGES)
  .map(([name, command]) => `( ${command} ) 2>/dev/null && echo ${name}`)
  .join('\n')
const names = (stdout) => stdout.split('\n').filter(Boolean)

export function definesData(sandbox) {
  test('what the host wrote is read inside, byte for byte', async (t) => {
    const store = await openStore(t)
    const volume = await store.createVolume('data')
    await volume.fs().mkdir('deep/er')
    await volume.fs().writeString('deep/er/seed.txt', 'seed')
    await volume.fs().write('bytes', Buffer.from([0, 255, 10, 13]))
    const attachment = await store.attach('reader', { '/data': Mount.named('data') })
    const { status, stdout } = sandbox.run(attachment, 'cat /data/deep/er/seed.txt /data/bytes | od -An -tu1')
    assert.equal(status, 0)
    assert.deepEqual(stdout.trim().split(/\s+/).map(Number), [...Buffer.from('seed'), 0, 255, 10, 13])
  })

  test('what the sandbox wrote is read by the host, and by the next sandbox', async (t) => {
    const store = await openStore(t)
    await store.createVolume('data')
    const attachment = await store.attach('writer', { '/data': Mount.named('data') })
    const script = 'mkdir -p /data/out && echo result > /data/out/result.txt && echo hidden > /data/.dot'
    assert.equal(sandbox.run(attachment, script).status, 0)
    await attachment.detach()

    const files = (await store.getVolume('data')).fs()
    assert.equal(await files.readString('out/result.txt'), 'result\n')
    assert.equal(await files.readString('.dot'), 'hidden\n')

    await files.writeString('out/result.txt', 'answer\n')
    const next = await store.attach('reader', { '/data': Mount.named('data') })
    assert.equal(sandbox.run(next, 'cat /data/out/result.txt').stdout, 'answer\n')
  })

  const sources = {
    'a volume': async (t, store, options) => {
      const volume = await store.createVolume('data')
      return { hostPath: volume.path, mount: Mount.named('data', options) }
    },
    'a directory of the host': async (t, store, options) => {
      const hostPath = temporaryDirectory(t)
      return { hostPath, mount: Mount.bind(hostPath, options) }
    },
  }
  for (const [source, make] of Object.entries(sources)) {
    const changed = async (t, options) => {
      const store = await openStore(t)
      const { hostPath, mount } = await make(t, store, options)
      const existing = ['overwrite', 'append', 'remove', 'rename', 'chmod']
      existing.forEach((name) => writeFileSync(join(hostPath, name), 'untouched'))
      const before = snapshot(hostPath)
      const attachment = await store.attach('vandal', { '/data': mount })
      const { stdout } = sandbox.run(attachment, `cat /data/overwrite\necho\n${CHANGE_EVERYTHING}`)
      const [seen, ...changes] = names(stdout)
      assert.equal(seen, 'untouched', 'it can be read')
      return { changes, before, after: snapshot(hostPath) }
    }

    test(`${source} can be changed from inside in every way`, async (t) => {
      const { changes, after } = await changed(t, {})
      assert.deepEqual(changes, Object.keys(CHANGES))
      assert.match(after.overwrite, / changed\n$/)
      assert.match(after.append, / untouchedmore\n$/)
      assert.deepEqual(Object.keys(after), ['append', 'chmod', 'created', 'made', 'overwrite', 'renamed'])
    })

    test(`${source} that is readonly can be read and not be changed in any way`, async (t) => {
      const { changes, before, after } = await changed(t, { readonly: true })
      assert.deepEqual(changes, [])
      assert.deepEqual(after, before)
    })
  }

  test('a single file of the host appears alone and is written in place', async (t) => {
    const { attachment, file } = await attachFile(t)
    const { stdout } = sandbox.run(attachment, 'cat /etc/tool/settings; ls /etc/tool; echo new > /etc/tool/settings')
    assert.equal(stdout, 'old\nsettings\n')
    assert.equal(readFileSync(file, 'utf8'), 'new\n')
  })

  test('a single file of the host that is readonly refuses to be written', async (t) => {
    const { attachment, file } = await attachFile(t, { readonly: true })
    const script = 'cat /etc/tool/settings; echo new > /etc/tool/settings'
    const { status, stdout, stderr } = sandbox.run(attachment, script)
    assert.equal(stdout, 'old\n')
    assert.match(stderr, /Read-only file system/)
    assert.notEqual(status, 0)
    assert.equal(readFileSync(file, 'utf8'), 'old\n')
  })
}

async function attachFile(t, options) {
  const file = join(temporaryDirectory(t), 'file')
  writeFileSync(file, 'old\n')
  writeFileSync(`${file}-beside`, 'not for the guest')
  const store = await openStore(t)
  const attachment = await store.attach('tool', { '/etc/tool/settings': Mount.bind(file, options) })
  return { attachment, file }
}
