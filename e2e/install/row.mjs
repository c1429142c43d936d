// What a row works with: an empty directory, a home of its own, a PATH without a compiler, and checks.
import assert from 'node:assert/strict'
import { cpSync, existsSync, mkdirSync, symlinkSync } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline'
import * as program from './program.mjs'
import { programDirectory, run, start, stop, write } from './work.mjs'

/** Returns the settings of each package manager for a registry, as files of the user's home. */
export function homeFiles({ url }) {
  const yarnConfig = `npmRegistryServer: "${url}"\nunsafeHttpWhitelist: ["127.0.0.1"]\nenableTelemetry: false\n`
  return {
    // Yarn refuses what was published a short time ago.
    yarnConfig: `${yarnConfig}npmMinimalAgeGate: 0\n`,
    files: {
      '.npmrc': `registry=${url}\naudit=false\nfund=false\nupdate-notifier=false\n`,
      '.yarnrc': `registry "${url}"\n`,
      '.bunfig.toml': `[install]\nregistry = "${url}"\n`,
    },
  }
}

/** Returns the environment of a row, which has nothing of the caller's. */
export function environment(tools, root, home) {
  const programs = path.join(root, 'programs')
  if (!existsSync(programs)) {
    programDirectory(programs, tools.node(22))
  }
  mkdirSync(home, { recursive: true })
  return {
    PATH: programs,
    HOME: home,
    LANG: 'C.UTF-8',
    CI: 'true',
    NO_COLOR: '1',
    VOLUMES_HOME: path.join(home, 'volumes'),
    NEXT_TELEMETRY_DISABLED: '1',
    DO_NOT_TRACK: '1',
    DENO_NO_UPDATE_CHECK: '1',
  }
}

/** Creates what a row works with. `shared` has what all rows share. */
export function makeRow({ above }, number, shared) {
  const { tools, registry, root } = shared
  const base = path.join(root, above ?? 'bare')
  const directory = path.join(base, String(number), 'app')
  const home = path.join(base, String(number), 'home')
  mkdirSync(directory, { recursive: true })
  if (above !== undefined && !existsSync(path.join(base, 'node_modules'))) {
    symlinkSync(path.join(tools.set(above), 'node_modules'), path.join(base, 'node_modules'))
  }
  const { files, yarnConfig } = homeFiles(registry)
  const env = environment(tools, root, home)
  write(home, files)

  let lives = 0
  const failures = []
  const row = {
    ...{ directory, home, tools, program, tarball: shared.tarball, registry: { ...registry, yarnConfig } },
    node: (major) => tools.node(major),
    write: (contents) => write(directory, contents),
    run: (command, args, options = {}) => run(command, args, { cwd: directory, env, ...options }),
    npm: (args) => row.run(tools.node(22), [tools.npm(), ...args]),

    /** Writes files, and adds the package as npm installed it. */
    async install(contents) {
      row.write({ 'package.json': { name: 'app', private: true }, ...contents })
      const installed = path.join(await shared.installed(), 'node_modules')
      cpSync(installed, path.join(directory, 'node_modules'), { recursive: true })
    },

    /** Runs a program that has to print `count` times what a volume's life shows. */
    async lives(command, args, count = 1, options = {}) {
      lives += 1
      const own = { ...env, VOLUMES_HOME: path.join(home, `volumes-${lives}-`) }
      const { stdout } = await row.run(command, args, { env: own, ...options })
      program.assertLived(stdout, count)
    },

    /** Runs a program that has to fail, with words that name the cause. */
    async fails(command, args, pattern, options = {}) {
      const { stdout, stderr } = await row.run(command, args, { status: 1, ...options })
      row.contains(stdout + stderr, pattern)
    },

    contains(text, pattern) {
      assert.ok(pattern.test(text), `${pattern} is not in:\n${text}`)
    },

    /** Runs a part of a row. The other parts run even if it fails. */
    async attempt(name, part) {
      try {
        await part()
      } catch (error) {
        failures.push(`${name}: ${error.message}`)
      }
    },

    /** Starts a server that prints its address, and asks it for a page. */
    async serves(command, args, page) {
      const server = start(command, args, { cwd: directory, env, stdio: ['ignore', 'pipe', 'pipe'] })
      let output = ''
      server.stderr.on('data', (text) => (output += text))
      try {
        for await (const line of createInterface({ input: server.stdout })) {
          output += `${line}\n`
          const [url] = /http:\/\/127\.0\.0\.1:\d+/.exec(line) ?? []
          if (url !== undefined) {
            program.assertLived(await (await fetch(url + page)).text())
            return
          }
        }
        throw new Error(`the server ended:\n${output}`)
      } finally {
        await stop(server)
      }
    },
    failures,
  }
  return row
}
