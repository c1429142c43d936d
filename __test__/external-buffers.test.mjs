// A runtime that refuses external buffers, such as Electron, gets copies with the same bytes.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import path from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { compiler, outputOf, runNode, tempDir } from './support.mjs'

const isGlibc = process.report.getReport().header.glibcVersionRuntime !== undefined
const skip = compiler === undefined ? 'needs a C compiler' : isGlibc ? false : 'needs glibc, which can pass on dlsym'

/** What each result that the addon may pass as an external buffer contains. */
const CONTENTS = `
  import assert from 'node:assert/strict'
  import { writeFileSync } from 'node:fs'
  const { VolumeStore } = await import(process.env.SV)
  const store = await VolumeStore.open({ home: process.env.VOLUMES, durability: 'fast' })
  const volume = await store.createVolume('v')
  const files = volume.fs()

  // Short, long, and with nothing in it.
  for (const length of [0, 1, 1000, 3_000_001]) {
    const written = Buffer.from({ length }, (_, at) => at % 251)
    await files.write('file', written)
    const read = await files.read('file')
    assert.ok(Buffer.isBuffer(read) && read.equals(written), String(length))
    // It is the caller's: a change does not reach the volume.
    read.fill(255)
    assert.ok((await files.read('file')).equals(written), String(length))
    const chunks = []
    for await (const chunk of files.readStream('file')) chunks.push(chunk)
    assert.ok(Buffer.concat(chunks).equals(written), String(length))
  }
  await files.writeString('text', 'ä'.repeat(1_000_000))
  assert.equal(await files.readString('text'), 'ä'.repeat(1_000_000))

  // Numbers and names in columns. A name that is not UTF-8 comes as bytes.
  const name = Buffer.from([0x66, 0xff])
  writeFileSync(Buffer.concat([Buffer.from(volume.path + '/'), name]), 'four', { mode: 0o600 })
  const entries = (await files.list('')).sort((a, b) => a.size - b.size)
  assert.deepEqual(entries.map(({ size }) => size), [4, 2_000_000, 3_000_001])
  assert.deepEqual([entries[0].mode, entries[0].kind], [0o600, 'file'])
  assert.ok(entries[0].pathBytes.equals(name))
  assert.ok(Math.abs(Date.now() - entries[0].modified) < 3_600_000)
  console.log('the same')`

test('results have the same contents where external buffers are allowed', async (t) => {
  assert.equal(await outputOf(CONTENTS, { env: { VOLUMES: tempDir(t) } }), 'the same\n')
})

test('results have the same contents where external buffers are refused', { skip }, async (t) => {
  const library = path.join(tempDir(t), 'no-external-buffers.so')
  const source = fileURLToPath(new URL('no-external-buffers.c', import.meta.url))
  execFileSync(compiler, ['-shared', '-fPIC', '-Wall', '-Werror', '-o', library, source])
  const { code, stdout, stderr } = await runNode(CONTENTS, { env: { VOLUMES: tempDir(t), LD_PRELOAD: library } })
  const refusals = stderr.trimEnd().split('\n')
  assert.deepEqual({ code, stdout }, { code: 0, stdout: 'the same\n' }, stderr)
  // Both were asked for, and nothing else was reported.
  assert.deepEqual([...new Set(refusals)].sort(), ['refused a buffer', 'refused an array buffer'])
})
