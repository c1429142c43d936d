// Mounts below mounts.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Mount } from '../../index.js'
import { openStore, snapshot } from '../support.mjs'

/** Creates a store with volumes of these names, each with a file that contains its name. */
async function storeWith(t, ...names) {
  const store = await openStore(t)
  for (const name of names) {
    await store.createVolume(name)
    await (await store.getVolume(name)).fs().writeString('whose', `${name}\n`)
  }
  return store
}

const filesOf = async (store, name) => (await store.getVolume(name)).fs()

export function definesNested(sandbox) {
  test('children are made inside their parents, in whatever order they were passed', async (t) => {
    const store = await storeWith(t, 'outer', 'middle', 'inner')
    await (await filesOf(store, 'outer')).mkdir('mid')
    await (await filesOf(store, 'outer')).writeString('mid/covered', 'by the child')
    await (await filesOf(store, 'middle')).mkdir('in')
    const guestPaths = { '/data/mid/in': 'inner', '/data': 'outer', '/data/mid': 'middle' }
    const mounts = Object.entries(guestPaths).map(([path, name]) => [path, Mount.named(name)])
    for (const order of [mounts, [...mounts].reverse()]) {
      const attachment = await store.attach('nest', Object.fromEntries(order))
      const script = 'cat /data/whose /data/mid/whose /data/mid/in/whose; ls /data/mid; echo x > /data/mid/in/new'
      const { status, stdout } = sandbox.run(attachment, script)
      assert.equal(status, 0)
      assert.equal(stdout, 'outer\nmiddle\ninner\nin\nwhose\n')
      assert.equal(await (await filesOf(store, 'inner')).readString('new'), 'x\n')
      assert.equal(await (await filesOf(store, 'outer')).exists('mid/in'), false)
    }
  })

  test('a child of a readonly parent is as writable as itself asks for', async (t) => {
    const store = await storeWith(t, 'parent', 'child', 'sealed')
    await (await filesOf(store, 'parent')).mkdir('child')
    await (await filesOf(store, 'parent')).mkdir('sealed')
    const attachment = await store.attach('nest', {
      '/data': Mount.named('parent', { readonly: true }),
      '/data/child': Mount.named('child'),
      '/data/sealed': Mount.named('sealed', { readonly: true }),
    })
    const write = (directory) => `( echo x > ${directory}/new ) 2>/dev/null && echo ${directory}`
    const script = ['/data', '/data/child', '/data/sealed'].map(write).join('\n')
    assert.equal(sandbox.run(attachment, script).stdout, '/data/child\n')
  })

  test('a readonly child of a writable parent refuses what the parent takes', async (t) => {
    const store = await storeWith(t, 'parent', 'child')
    const attachment = await store.attach('nest', {
      '/data': Mount.named('parent'),
      '/data/child': Mount.named('child', { readonly: true }),
    })
    const script = 'cat /data/child/whose; echo x > /data/new; echo x > /data/child/new'
    const { stdout, stderr } = sandbox.run(attachment, script)
    assert.equal(stdout, 'child\n')
    assert.match(stderr, /\/data\/child\/new: Read-only file system/)
    assert.equal(await (await filesOf(store, 'parent')).readString('new'), 'x\n')
    assert.equal(await (await filesOf(store, 'child')).exists('new'), false)
  })

  test('a mount point that its parent lacks is made there and stays, unless the parent is readonly', async (t) => {
    const store = await storeWith(t, 'parent', 'child')
    const attach = (options) => {
      const parent = Mount.named('parent', options)
      return store.attach('nest', { '/data': parent, '/data/child': Mount.named('child') })
    }
    const { path } = await store.getVolume('parent')
    const before = snapshot(path)
    await assert.rejects(attach({ readonly: true }), { code: 'ERR_INVALID_CONFIG', path: '/data/child' })
    assert.deepEqual(snapshot(path), before)

    assert.equal(sandbox.run(await attach({}), 'cat /data/child/whose').stdout, 'child\n')
    assert.deepEqual(Object.keys(snapshot(path)), ['child', 'whose'], 'the empty mount point stays')
  })

  test('a link that the guest planted at a mount point is refused before a runtime follows it', async (t) => {
    const store = await storeWith(t, 'parent', 'child')
    const first = await store.attach('nest', { '/data': Mount.named('parent') })
    assert.equal(sandbox.run(first, 'ln -s ../../db/planted /data/child').status, 0)
    await first.detach()
    const again = { '/data': Mount.named('parent'), '/data/child': Mount.named('child') }
    await assert.rejects(store.attach('nest', again), { code: 'ERR_INVALID_CONFIG', path: '/data/child' })
    assert.deepEqual(Object.keys(snapshot(store.home)).filter((name) => name.includes('planted')), [])
  })
}
