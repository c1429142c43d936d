// A home that microsandbox uses too, with the tables of its version 0.6.18.
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { CatalogError, InvalidConfigError, Mount, UnsupportedMountError, VolumeInUseError } from '../index.js'
import { RecordingBuilder, rejects, tempStore, throws, withoutFlock, withoutSqlite } from './support.mjs'

const TABLES = `
  CREATE TABLE sandbox (id integer NOT NULL PRIMARY KEY AUTOINCREMENT, name text NOT NULL UNIQUE,
    config text NOT NULL, status text NOT NULL, active_config text);
  CREATE TABLE volume (id integer NOT NULL PRIMARY KEY AUTOINCREMENT, name text NOT NULL UNIQUE,
    quota_mib integer, size_bytes integer, labels text, created_at datetime_text, updated_at datetime_text,
    kind text NOT NULL DEFAULT 'dir', capacity_bytes integer, disk_format text, disk_fstype text);`

/** Runs SQL on the catalog of microsandbox in another program. */
function inMsb(store, sql) {
  const program = 'import sqlite3, sys; sqlite3.connect(sys.argv[1]).executescript(sys.argv[2])'
  execFileSync('python3', ['-c', program, path.join(store.home, 'db', 'msb.db'), sql])
}

test('a volume is mounted by its name only where microsandbox has it', { skip: withoutSqlite() }, async (t) => {
  const store = await tempStore(t)
  await store.createVolume('data')
  await store.createVolume('disk', { kind: 'disk', sizeMib: 64 })
  const attachment = await store.attach('worker', { '/data': Mount.named('data'), '/disk': Mount.named('disk') })
  const refused = (at) => {
    const builder = new RecordingBuilder()
    const expected = { path: at, message: /would not find the volume by its name/ }
    throws(() => attachment.toMicrosandbox({ byName: true }), UnsupportedMountError, expected)
    throws(() => attachment.configureSandbox(builder, { byName: true }), UnsupportedMountError, expected)
    assert.deepEqual(builder.mounts, [])
  }
  refused('/data')
  inMsb(store, `PRAGMA journal_mode = wal; ${TABLES}`)
  refused('/data')
  inMsb(store, "INSERT INTO volume (name) VALUES ('data')")
  refused('/disk')
  inMsb(store, "INSERT INTO volume (name, kind, capacity_bytes) VALUES ('disk', 'disk', 64 << 20)")
  const expected = ['--mount-named', 'data:/data', '--mount-named', 'disk:/disk:kind=disk,size=64M']
  assert.deepEqual(attachment.toMicrosandbox({ byName: true }), expected)
  const { mounts } = attachment.configureSandbox(new RecordingBuilder(), { byName: true })
  const calls = mounts.map((mount) => mount.calls)
  assert.deepEqual(calls, [[['namedWith', 'data', 'existing']], [['namedWith', 'disk', 'existing']]])
  inMsb(store, "DELETE FROM volume WHERE name = 'data'")
  refused('/data')
  inMsb(store, 'ALTER TABLE volume DROP COLUMN kind')
  throws(() => attachment.toMicrosandbox({ byName: true }), CatalogError, { code: 'ERR_CATALOG' })
})

test('a volume that a running sandbox of microsandbox mounts is not removed', async (t) => {
  const store = await tempStore(t)
  const volume = await store.createVolume('data')
  inMsb(store, TABLES)
  const config = JSON.stringify({ mounts: [{ type: 'Bind', host: volume.path, guest: '/data' }] })
  inMsb(store, `INSERT INTO sandbox (name, status, config) VALUES ('box', 'Running', '${config}')`)
  const inUse = { volume: 'data', sandboxes: ['box'] }
  await rejects(store.removeVolume('data'), VolumeInUseError, inUse)
  await rejects(volume.remove(), VolumeInUseError, inUse)
  assert.ok(existsSync(volume.path))
  inMsb(store, "UPDATE sandbox SET status = 'Stopped'")
  await volume.remove()
  assert.ok(!existsSync(volume.path))
})

test('the flock on an attached disk is released for microsandbox alone', { skip: withoutFlock }, async (t) => {
  const store = await tempStore(t)
  const volume = await store.createVolume('disk', { kind: 'disk', sizeMib: 8 })
  const image = path.join(volume.path, 'disk.raw')
  const isLocked = () => spawnSync('flock', ['--nonblock', image, 'true']).status !== 0
  const attach = () => store.attach('worker', { '/disk': Mount.named('disk') })
  let attachment = await attach()
  assert.ok(isLocked())
  throws(() => attachment.toMicrosandbox({ handOver: 'no' }), InvalidConfigError, { field: 'handOver' })
  throws(() => attachment.toMicrosandbox({ byName: true }), UnsupportedMountError, {})
  throws(() => attachment.configureSandbox({ volume: (_, configure) => configure({}) }), InvalidConfigError, {})
  attachment.toMicrosandbox({ handOver: false })
  attachment.configureSandbox(new RecordingBuilder(), { handOver: false })
  attachment.toQemu()
  assert.ok(isLocked())
  attachment.toMicrosandbox()
  assert.ok(!isLocked())
  await rejects(attach(), VolumeInUseError, { sandboxes: ['worker'] })
  await attachment.detach()
  attachment = await attach()
  assert.ok(isLocked())
  attachment.configureSandbox(new RecordingBuilder())
  assert.ok(!isLocked())
  await attachment.detach()
})
