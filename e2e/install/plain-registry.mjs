// A registry for `--quick`, which has to work without any download: it serves tarballs on loopback to npm.
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import path from 'node:path'
import { run } from './work.mjs'

/** Reads the package.json of a tarball. */
async function manifestOf(tarball) {
  const args = ['-xzOf', tarball, 'package/package.json']
  return JSON.parse((await run('tar', args, { cwd: path.dirname(tarball), env: process.env })).stdout)
}

/** Starts the registry. Returns its address, and what stops it. */
export async function startPlainRegistry(tarballs) {
  const documents = new Map()
  const files = new Map(tarballs.map((file) => [`/files/${path.basename(file)}`, readFileSync(file)]))
  const server = createServer((request, response) => {
    const name = decodeURIComponent(new URL(request.url, 'http://127.0.0.1').pathname)
    const content = files.get(name) ?? documents.get(name)
    response.writeHead(content === undefined ? 404 : 200).end(content ?? '{}')
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `http://127.0.0.1:${server.address().port}/`
  for (const tarball of tarballs) {
    const manifest = await manifestOf(tarball)
    const file = `files/${path.basename(tarball)}`
    const integrity = `sha512-${createHash('sha512').update(files.get(`/${file}`)).digest('base64')}`
    const versions = { [manifest.version]: { ...manifest, dist: { tarball: url + file, integrity } } }
    const { name } = manifest
    documents.set(`/${name}`, JSON.stringify({ name, 'dist-tags': { latest: manifest.version }, versions }))
  }
  const stop = async () => {
    server.close()
    server.closeAllConnections()
  }
  return { url, stop }
}
