// Which directory is the home, and which users may use it.
import assert from 'node:assert/strict'
import { chmodSync, existsSync, mkdirSync, readdirSync, realpathSync, statSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { InvalidConfigError, VolumeStore } from '../index.js'
import { isRoot, outputOf, rejects, tempDir } from './support.mjs'

/** Prints the outcome of each way to the default home: the name, the field and the message of an error. */
const EACH_WAY = `
const sv = await import(process.env.SV)
const describe = (error) => error instanceof sv.VolumeError
  ? [error.name, error.field, error.message].join(' | ')
  : 'no VolumeError: ' + (error.stack ?? error)
for (const call of [
  () => sv.createVolume('v'), () => sv.getVolume('v'), () => sv.listVolumes(), () => sv.removeVolume('v'),
  () => sv.attach('s', {}), () => sv.attachments(), () => sv.detach('1'),
  () => sv.VolumeStore.open(), () => sv.VolumeStore.check(),
]) console.log(await call().then((value) => 'resolved: ' + value, describe))`

test('a default home that is no absolute path is refused, and nothing is made', async (t) => {
  for (const [env, field, expected] of [
    [{ HOME: '', MSB_HOME: undefined }, 'HOME', /empty.*set HOME or MSB_HOME to an absolute path/],
    [{ HOME: 'x', MSB_HOME: '' }, 'HOME', /relative.*set HOME or MSB_HOME/],
    [{ HOME: '~', MSB_HOME: undefined }, 'HOME', /tilde.*absolute/],
    [{ HOME: '/nowhere', MSB_HOME: '~/x' }, 'MSB_HOME', /tilde.*absolute/],
    [{ HOME: '/nowhere', MSB_HOME: '~' }, 'MSB_HOME', /tilde.*absolute/],
    [{ HOME: '/nowhere', MSB_HOME: '~someone/x' }, 'MSB_HOME', /tilde.*absolute/],
    [{ HOME: '/nowhere', MSB_HOME: 'x' }, 'MSB_HOME', /relative.*set MSB_HOME to an absolute path/],
    [{ HOME: '/nowhere', MSB_HOME: './~/x' }, 'MSB_HOME', /relative/],
    [{ HOME: '/nowhere', MSB_HOME: '.' }, 'MSB_HOME', /relative/],
  ]) {
    const cwd = tempDir(t)
    const lines = (await outputOf(EACH_WAY, { env, cwd })).trim().split('\n')
    assert.equal(lines.length, 9)
    for (const line of lines) {
      assert.ok(line.startsWith(`InvalidConfigError | ${field} | `), line)
      assert.match(line, expected)
    }
    assert.deepEqual(readdirSync(cwd), [])
  }
})

test('for a user without HOME and without a passwd entry, the error says what to set', { skip: !isRoot && 'needs root' }, async (t) => {
  const output = await outputOf(`process.setgid(54321); process.setuid(54321);${EACH_WAY}`, {
    env: { HOME: undefined, MSB_HOME: undefined },
    cwd: realpathSync(tempDir(t)),
  })
  for (const line of output.trim().split('\n')) {
    assert.match(line, /^InvalidConfigError \| HOME \| .*set HOME or MSB_HOME to an absolute path/)
  }
})

test('a working directory that is gone matters only to a relative home', async (t) => {
  const [cwd, home] = [tempDir(t), path.join(tempDir(t), 'home')]
  const output = await outputOf(
    `import { rmSync } from 'node:fs'
     const sv = await import(process.env.SV)
     rmSync(process.env.GONE, { recursive: true })
     const error = await sv.VolumeStore.open({ home: 'x' }).then(() => 'opened', (error) => error)
     console.log(error instanceof sv.VolumeError, error.field, error.message)
     await sv.createVolume('v')
     console.log((await sv.listVolumes()).length, (await sv.VolumeStore.open({ home: process.env.MSB_HOME })).home)`,
    { env: { GONE: cwd, MSB_HOME: home, HOME: '' }, cwd },
  )
  assert.match(output, /^true home .*working directory is gone.*absolute path\n1 .*home\n$/s)
  assert.ok(existsSync(path.join(home, 'volumes/v')))
})

test('a home that is given with a tilde is refused, and one that is relative is resolved', async (t) => {
  const cwd = realpathSync(tempDir(t))
  for (const home of ['~', '~/x', '~user/x']) {
    await rejects(VolumeStore.open({ home }), InvalidConfigError, { field: 'home', message: /tilde/ })
    await rejects(VolumeStore.check({ home }), InvalidConfigError, { field: 'home' })
  }
  const output = await outputOf(
    `const sv = await import(process.env.SV)
     console.log((await sv.VolumeStore.open({ home: 'x/~y' })).home)`,
    { cwd },
  )
  assert.equal(output, `${path.join(cwd, 'x/~y')}\n`)
  assert.deepEqual(readdirSync(cwd), ['x'])
})

const OPEN = `
const { VolumeStore } = await import(process.env.SV)
process.removeAllListeners('warning').on('warning', (warning) => console.log(warning.name, warning.message))
const options = JSON.parse(process.env.OPTIONS)
for (let round = 0; round < 2; round++) {
  console.log(await VolumeStore.open(options).then(() => 'opened', (error) => error.name + ' ' + error.message))
}`

async function opened(home, options = {}, env = {}) {
  const output = await outputOf(OPEN, { env: { OPTIONS: JSON.stringify({ home, ...options }), ...env } })
  return output.trim().split('\n')
}

test('a home that others may read is reported once and by check, which makes it private', async (t) => {
  const home = path.join(tempDir(t), 'home')
  for (const dir of ['volumes', 'db']) {
    mkdirSync(path.join(home, dir), { recursive: true })
    chmodSync(path.join(home, dir), 0o755)
  }
  const lines = await opened(home)
  assert.equal(lines.filter((line) => line === 'opened').length, 2)
  const warnings = lines.filter((line) => line.startsWith('VolumeHomeWarning')).sort()
  assert.equal(warnings.length, 2, lines.join('\n'))
  assert.match(warnings[0], /home\/db" is open to other users.*check\(\{ repair: true \}\)/)
  assert.match(warnings[1], /home\/volumes" is open to other users/)
  assert.deepEqual(await opened(home, { shared: true }), ['opened', 'opened'])
  const problems = async (options) =>
    (await VolumeStore.check({ home, ...options })).map(({ kind, path: at, repaired }) => [kind, at, repaired])
  const reported = (repaired) => ['volumes', 'db'].map((dir) => ['open-to-others', path.join(home, dir), repaired])
  assert.deepEqual(await problems({ shared: true, repair: true }), [])
  assert.deepEqual(await problems({}), reported(false))
  assert.deepEqual(await problems({ repair: true }), reported(true))
  assert.deepEqual(await problems({}), [])
  assert.equal(statSync(path.join(home, 'volumes')).mode & 0o777, 0o700)
  assert.deepEqual(await opened(home), ['opened', 'opened'])
})

test('a home that others may write is refused, unless the caller consents', async (t) => {
  const home = path.join(tempDir(t), 'home')
  await VolumeStore.open({ home })
  for (const at of ['volumes', 'db', '.']) {
    const dir = path.join(home, at)
    chmodSync(dir, 0o777)
    for (const line of await opened(home)) {
      assert.match(line, /^InvalidConfigError .*may be written by other users.*shared: true.*SANDBOX_VOLUMES_SHARED=1/)
      assert.ok(line.includes(JSON.stringify(dir)), line)
    }
    assert.deepEqual(await opened(home, {}, { SANDBOX_VOLUMES_SHARED: '1' }), ['opened', 'opened'])
    assert.match((await opened(home, { shared: false }, { SANDBOX_VOLUMES_SHARED: '1' }))[0], /^InvalidConfigError/)
    assert.match((await opened(home, {}, { SANDBOX_VOLUMES_SHARED: '0' }))[0], /^InvalidConfigError/)
    const [problem, ...others] = await VolumeStore.check({ home })
    assert.deepEqual([problem.kind, problem.path, problem.repaired, others.length], ['open-to-others', dir, false, 0])
    assert.equal((await VolumeStore.check({ home, repair: true }))[0].repaired, true)
    assert.deepEqual(await opened(home), ['opened', 'opened'])
  }
  await rejects(VolumeStore.open({ home, shared: 'yes' }), InvalidConfigError)
})
