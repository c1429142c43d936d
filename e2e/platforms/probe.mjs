// Prints what runs in a root: the versions of Node.js and of the C library, and the addon that the loader chose.
import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { createRequire } from 'node:module'

createRequire('/app/')('sandbox-volumes')
const { header, sharedObjects } = process.report.getReport()
const musl = () => {
  const loader = readdirSync('/lib').find((name) => /^ld-musl-.*\.so\.1$/.test(name))
  return `musl ${/Version (\S+)/.exec(spawnSync(`/lib/${loader}`, { encoding: 'utf8' }).stderr)?.[1]}`
}
const libc = header.glibcVersionRuntime === undefined ? musl() : `glibc ${header.glibcVersionRuntime}`
const addon = sharedObjects.filter((file) => file.endsWith('.node'))
console.log(JSON.stringify({ node: process.version, architecture: process.arch, libc, addon }))
