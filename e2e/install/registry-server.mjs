// A registry on loopback. It prints its port, and ends when its standard input ends, so also when its parent dies.
// Arguments: the directory of Verdaccio's package, the directory for what it stores.
import { createRequire } from 'node:module'
import path from 'node:path'

const [verdaccio, directory] = process.argv.slice(2)
const { runServer } = createRequire(path.join(verdaccio, 'package.json'))('verdaccio')

const app = await runServer({
  self_path: path.join(directory, 'config.yaml'),
  storage: path.join(directory, 'storage'),
  auth: { htpasswd: { file: path.join(directory, 'users'), max_users: 1 } },
  // No `proxy`: what was not published here is not found, and nothing leaves the machine.
  uplinks: {},
  packages: { '**': { access: '$all', publish: '$authenticated' } },
  web: { enable: false },
  log: { type: 'stdout', format: 'json', level: 'fatal' },
  max_body_size: '64mb',
})
const server = app.listen(0, '127.0.0.1', () => console.log(server.address().port))
process.stdin.resume().on('end', () => process.exit(0))
