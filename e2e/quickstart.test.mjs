import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import * as bubblewrap from '../examples/sandboxes/bubblewrap.mjs'
import { whyNot } from '../examples/sandboxes/choose.mjs'
import * as podman from '../examples/sandboxes/podman.mjs'
import * as qemu from '../examples/sandboxes/qemu.mjs'
import * as runc from '../examples/sandboxes/runc.mjs'
import * as unshare from '../examples/sandboxes/unshare.mjs'
import { suite, temporaryDirectory } from './support.mjs'

const QUICKSTART = fileURLToPath(new URL('../examples/quickstart.mjs', import.meta.url))

/** Runs the quickstart with an empty directory for temporary files, which must be empty again afterwards. */
function quickstart(t, ...args) {
  const TMPDIR = temporaryDirectory(t)
  const options = { encoding: 'utf8', timeout: 600_000, env: { ...process.env, TMPDIR } }
  const { status, stdout, stderr } = spawnSync(process.execPath, [QUICKSTART, ...args], options)
  return { status, stdout, stderr, left: readdirSync(TMPDIR) }
}

function assertSuccess({ status, stdout, stderr, left }) {
  assert.equal(stderr, '')
  assert.equal(status, 0)
  assert.deepEqual(left, [])
  assert.ok(stdout.split('\n').length < 52)
  assert.doesNotMatch(stdout, /\u001b/, 'no colours in a file')
  assert.match(stdout, /VolumeInUseError: Volume "sources" is attached to "quickstart"/)
  assert.match(stdout, /\n {3}0 volumes are left/)
}

const SANDBOXES = [bubblewrap, runc, podman, unshare]

for (const sandbox of SANDBOXES) {
  const reason = whyNot(sandbox)
  suite(`The quickstart with ${sandbox.name}`, reason && `${sandbox.name} does not work here: ${reason}`, () => {
    test('it takes a volume through a real sandbox and leaves nothing behind', (t) => {
      const result = quickstart(t, `--runtime=${sandbox.name}`)
      assertSuccess(result)
      const [, seeded] = /(\d+) files, [\d,]+ bytes/.exec(result.stdout)
      const [, counted] = /\| +(\d+)\n/.exec(result.stdout)
      assert.ok(Number(seeded) > 0)
      assert.equal(counted, seeded, 'the sandbox sees every file that was seeded')
      assert.match(result.stdout, /\| .*lib\.rs: Read-only file system/)
      const [, lines] = /\| (\d+) \/scratch\/lib\.rs/.exec(result.stdout)
      for (const other of [...SANDBOXES, qemu].filter(({ name }) => name !== sandbox.name)) {
        const works = (other.whyNot ?? (() => whyNot(other)))() === null
        const said = works ? `\\| +${lines} /data/lib\\.rs` : '– +\\S'
        assert.match(result.stdout, new RegExp(`\n   ${other.name} +${said}`))
      }
    })
  })
}

test('the quickstart without a sandbox shows what it would have run', (t) => {
  const result = quickstart(t, '--runtime=none')
  assertSuccess(result)
  assert.match(result.stdout, /bwrap .*head -n 3 \/data\/lib\.rs/)
})

test('the quickstart names the runtimes that it knows when asked for another one', (t) => {
  const { status, stderr, left } = quickstart(t, '--runtime=jail')
  assert.equal(status, 1)
  assert.match(stderr, /no runtime "jail".*bubblewrap, runc, podman, unshare, none/)
  assert.deepEqual(left, [])
})
