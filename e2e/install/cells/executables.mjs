// One executable, and the archive of an Electron application.
import { chmodSync, copyFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'

/** A single executable application: the package lies in `node_modules` beside the executable. */
const sea = (major) => ({
  name: `Single executable of Node.js ${major}`,
  tool: `node-${major}`,
  write: '`const require = module.createRequire(process.execPath)`, and `node_modules` beside the executable',
  checks: 'the executable runs in another directory',
  async run(row) {
    // The `require` of a single executable knows the modules of Node.js alone.
    const source = row.program.commonJs.replace(
      "require('sandbox-volumes')",
      "require('node:module').createRequire(process.execPath)('sandbox-volumes')",
    )
    const config = { main: 'program.cjs', output: 'program.blob', disableExperimentalSEAWarning: true }
    await row.install({ 'program.cjs': source, 'sea.json': config })
    await row.run(row.node(major), ['--experimental-sea-config', 'sea.json'])
    const file = path.join(row.directory, 'program')
    copyFileSync(row.node(major), file)
    chmodSync(file, 0o755)
    const fuse = ['--sentinel-fuse', 'NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2']
    const args = [row.tools.script('postject'), file, 'NODE_SEA_BLOB', 'program.blob', ...fuse]
    await row.run(row.node(22), args)
    await row.lives(file, [], 1, { cwd: row.home })
  },
})

/** An application in an archive, whose addon is outside of it, as `asarUnpack` of the packagers of Electron does. */
const asar = {
  name: 'asar archive',
  tool: '@electron/asar',
  write: "`asarUnpack: ['**/*.node']`",
  checks: 'in Node.js, with reading from the archive emulated. No Electron ran',
  async run(row) {
    await row.install({
      'package.json': { name: 'app', version: '1.0.0', main: 'main.cjs' },
      'main.cjs': row.program.commonJs,
    })
    const pack = async (name, args) => {
      const archive = path.join(row.home, name)
      await row.run(row.node(22), [row.tools.script('@electron/asar'), 'pack', row.directory, archive, ...args])
      return archive
    }
    const archive = await pack('app.asar', ['--unpack', '**/*.node'])
    const whole = await pack('whole.asar', [])
    // Nothing but the archives is left of the application.
    rmSync(row.directory, { recursive: true })

    const library = createRequire(path.join(row.tools.directoryOf('asar-node'), 'package.json')).resolve('asar-node')
    const start = path.join(row.home, 'start.cjs')
    writeFileSync(start, `require(${JSON.stringify(library)}).register()\nrequire(process.argv[2])\n`)
    await row.lives(row.node(22), [start, archive], 1, { cwd: row.home })
    // Electron would copy an addon out of this archive. Here, the failure shows that the one above is the unpacked one.
    await row.fails(row.node(22), [start, whole], /ERR_ADDON_NOT_LOADED/, { cwd: row.home })
  },
}

export const executables = { area: 'Executables', rows: [sea(20), sea(22), sea(24), asar] }
