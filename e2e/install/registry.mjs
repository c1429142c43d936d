// Starts the registry, and publishes the tarballs of the packages to it.
import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { run, start, stop } from './work.mjs'

const server = fileURLToPath(new URL('registry-server.mjs', import.meta.url))

/** Starts a registry that stores below `directory`. Returns its address and a token of a user who may publish. */
export async function startRegistry(tools, directory) {
  mkdirSync(directory, { recursive: true })
  const args = [server, tools.directoryOf('verdaccio'), directory]
  const child = start(tools.node(20), args, { cwd: directory, stdio: ['pipe', 'pipe', 'inherit'] })
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  for (;;) {
    const { value, done } = await lines.next()
    if (done) {
      throw new Error('the registry ended before it listened')
    }
    if (/^\d+$/.test(value)) {
      const url = `http://127.0.0.1:${value}/`
      return { url, token: await createUser(url), stop: () => stop(child) }
    }
  }
}

async function createUser(url) {
  const user = { name: 'tester', password: 'only on loopback', type: 'user', roles: [], date: new Date().toISOString() }
  const response = await fetch(new URL('-/user/org.couchdb.user:tester', url), {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(user),
  })
  const { token, error } = await response.json()
  if (token === undefined) {
    throw new Error(`the registry created no user: ${error}`)
  }
  return token
}

/** Publishes tarballs, with npm. */
export async function publish(tools, registry, tarballs, { cwd, env }) {
  const { host } = new URL(registry.url)
  writeFileSync(path.join(cwd, '.npmrc'), `registry=${registry.url}\n//${host}/:_authToken=${registry.token}\n`)
  for (const tarball of tarballs) {
    await run(tools.node(20), [tools.npm(), 'publish', tarball, '--loglevel=error'], { cwd, env })
  }
}
