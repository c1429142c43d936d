// The README's flow runs as it stands there.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { outputOf, root, tempDir } from './support.mjs'

/** Why bubblewrap makes no sandbox here, or false: it is tried, for being installed says little. */
function withoutBubblewrap() {
  const { error, status, stderr } = spawnSync('bwrap', ['--ro-bind', '/', '/', 'true'], { encoding: 'utf8' })
  if (error) {
    return error.code === 'ENOENT' ? 'bwrap (bubblewrap) is missing' : `bwrap: ${error.message}`
  }
  return status === 0 ? false : `bwrap makes no sandbox here: ${stderr.trim()}`
}

const unavailable = withoutBubblewrap()

test('the flow prints what the sandbox read, and detaches', {
  skip: process.env.CI === 'true' ? false : unavailable,
}, async (t) => {
  assert.equal(unavailable, false)
  const [, flow] = readFileSync(path.join(root, 'README.md'), 'utf8').match(/^```js\n(.*?)^```$/ms)
  const dir = tempDir(t)
  writeFileSync(path.join(dir, 'flow.mjs'), flow)
  mkdirSync(path.join(dir, 'node_modules'))
  symlinkSync(root, path.join(dir, 'node_modules/sandbox-volumes'))
  const home = path.join(dir, 'home')
  // When the flow has nothing left to do, its process still lives and would hold what it did not detach.
  const stdout = await outputOf(
    `import './flow.mjs'
     import { removeVolume } from 'sandbox-volumes'
     process.once('beforeExit', () => removeVolume('my-data'))`,
    { cwd: dir, env: { MSB_HOME: home } },
  )
  assert.equal(stdout, 'hello')
  assert.ok(existsSync(path.join(home, 'volumes')))
  assert.ok(!existsSync(path.join(home, 'volumes/my-data')))
})
