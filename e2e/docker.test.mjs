// The command line of Docker, with a stand-in for its engine, which few test machines run: a server that records
// the requests. Debian 12 has no Docker of the version that this needs, so the suite is skipped without one.
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { Mount, UnsupportedMountError } from '../index.js'
import { openStore, temporaryDirectory } from './support.mjs'

function unavailable() {
  const { error, stdout } = spawnSync('docker', ['--version'], { encoding: 'utf8' })
  const version = error ? null : /version (\d+)\./.exec(stdout)?.[1]
  return Number(version) >= 25 ? false : `docker 25 or later is needed, found ${version ?? 'none'}`
}

describe('Docker', { skip: unavailable() }, () => {
  test('its command line asks the engine for each mount as it was asked for', async (t) => {
    const store = await openStore(t)
    const directory = join(temporaryDirectory(t), `a,b"c":d 'e' =é\\`)
    mkdirSync(directory)
    const volume = await store.createVolume('data')
    const attachment = await store.attach('worker', {
      '/data': Mount.named('data'),
      '/say "hi" =é': Mount.bind(directory, { readonly: true }),
      '/tmp': Mount.tmpfs(),
      '/sealed "x"': Mount.tmpfs({ sizeMib: 16, readonly: true, noexec: true, nosuid: true, nodev: true }),
    })
    const { Mounts, Tmpfs, Binds } = await asked(t, attachment.toDocker())
    const BindOptions = { Propagation: 'rprivate', NonRecursive: true }
    assert.deepEqual(Mounts, [
      { Type: 'bind', Source: volume.path, Target: '/data', BindOptions },
      { Type: 'bind', Source: directory, Target: '/say "hi" =é', ReadOnly: true, BindOptions },
    ])
    assert.deepEqual(Tmpfs, {
      '/sealed "x"': 'ro,nosuid,nodev,noexec,size=16777216,mode=1777',
      '/tmp': 'rw,mode=1777,exec',
    })
    assert.equal(Binds, null)
  })

  for (const flag of ['noexec', 'nosuid', 'nodev']) {
    test(`${flag}, which a bind mount of it does not have, is refused here and by it`, async (t) => {
      const store = await openStore(t)
      await store.createVolume('data')
      const attachment = await store.attach('worker', { '/data': Mount.named('data', { [flag]: true }) })
      assert.throws(() => attachment.toDocker(), UnsupportedMountError)
      const mount = `type=bind,source=/,destination=/data,${flag}`
      await assert.rejects(asked(t, ['--mount', mount]), new RegExp(`invalid field '${flag}'`))
    })
  }
})

/** Returns the `HostConfig` that Docker requests for a container with these arguments. */
async function asked(t, args) {
  const socket = join(temporaryDirectory(t), 'docker.sock')
  let hostConfig
  const server = createServer(async (request, response) => {
    const body = (await request.setEncoding('utf8').toArray()).join('')
    response.setHeader('Api-Version', '1.44')
    if (new URL(request.url, 'http://engine').pathname.endsWith('/containers/create')) {
      hostConfig = JSON.parse(body).HostConfig
      response.writeHead(201, { 'Content-Type': 'application/json' }).end('{"Id":"0","Warnings":[]}')
    } else {
      response.end('OK')
    }
  })
  t.after(() => server.close())
  await once(server.listen(socket), 'listening')
  const env = { ...process.env, DOCKER_HOST: `unix://${socket}`, DOCKER_CONFIG: temporaryDirectory(t) }
  const child = spawn('docker', ['create', ...args, 'image'], { env, timeout: 180_000 })
  let complaints = ''
  child.stderr.on('data', (text) => (complaints += text))
  const [status] = await once(child, 'close')
  if (status !== 0) {
    throw new Error(complaints)
  }
  return hostConfig
}
