// QEMU with the kernel of Debian and a busybox: `attachment.toQemu()` is a part of its command line, and the guest
// makes the mounts. It is emulated, so that it runs without KVM.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { findTool } from './host-system.mjs'
import { archive } from './initramfs.mjs'
import { serve, unavailable as noDirectories } from './virtiofsd.mjs'

export const name = 'qemu'

/** The directory of the kernel of the guest, `vmlinuz`, and of its modules. */
export const guestKernel = fileURLToPath(new URL('../../e2e/.cache/guest-kernel', import.meta.url))
const MEMORY_MIB = 256
const MAX_RUN_MS = 300_000

/** Returns why no guest boots here, or null. */
export function unavailable() {
  for (const tool of ['qemu-system-x86_64', 'busybox']) {
    if (findTool(tool) === null) {
      return `${tool} is not installed`
    }
  }
  return existsSync(guestKernel) ? null : 'there is no kernel for the guest; get one with "bash e2e/fetch-guest-kernel.sh"'
}

/** Returns why a guest with shared directories does not boot here, or null. */
export const whyNot = () => unavailable() ?? noDirectories()

/** The serial ports of the guest. QEMU writes each to a file. */
const PORTS = ['console', 'stdout', 'stderr', 'status']

// A panic ends QEMU too, because it does not reboot.
const COMMAND_LINE = 'console=ttyS0 quiet panic=-1 rdinit=/init'

const PREPARE = `#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev
/bin/busybox mount -t proc proc /proc
/bin/busybox --install -s /bin
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for module in /modules/*; do insmod "$module"; done
`

const CARRY_OUT = `(sh /mount && exec sh /script) > /stdout 2> /stderr < /dev/null
echo $? > /status
sh /unmount
for port in 1 2 3; do stty raw < /dev/ttyS$port; done
cat /stdout > /dev/ttyS1; cat /stderr > /dev/ttyS2; cat /status > /dev/ttyS3
poweroff -f
`

/**
 * Returns the initial files of a guest: busybox, the modules of the kernel, and an init that loads them and then
 * runs `script`.
 */
export function rootFileSystem(script = CARRY_OUT) {
  const modules = readdirSync(join(guestKernel, 'modules')).map((name) => [
    `modules/${name}`,
    readFileSync(join(guestKernel, 'modules', name)),
  ])
  return archive({
    bin: null,
    'bin/busybox': readFileSync(findTool('busybox')),
    modules: null,
    ...Object.fromEntries(modules),
    init: PREPARE + script,
  })
}

let root

const quote = (text) => `'${text.replaceAll("'", `'\\''`)}'`

/**
 * Boots a guest, which makes the mounts of the attachment and runs a script. Waits until it has unmounted
 * everything and has powered off.
 */
export async function run(attachment, script) {
  const directory = mkdtempSync(join(tmpdir(), 'sandbox-volumes-qemu-'))
  const stops = []
  try {
    const { args, virtiofs, guest } = attachment.toQemu({ socketDir: directory, memoryMib: MEMORY_MIB })
    root ??= rootFileSystem()
    const scripts = archive({
      mount: guest.map(({ command }) => `${command} || exit\n`).join(''),
      script,
      unmount: guest.map(({ guestPath }) => `umount ${quote(guestPath)}`).reverse().join('\n'),
    })
    writeFileSync(join(directory, 'initramfs'), Buffer.concat([root, scripts]))
    for (const share of virtiofs) {
      stops.push(await serve(share))
    }
    const [status, complaints] = await boot(directory, args)
    const written = PORTS.map((port) => join(directory, port))
    const [console, stdout, stderr, ended] = written.map((file) => (existsSync(file) ? readFileSync(file, 'utf8') : ''))
    if (status !== 0 || ended === '') {
      throw new Error(`The guest did not end well (${status}): ${[complaints, console, stdout, stderr].join('\n')}`)
    }
    return { status: Number(ended), stdout, stderr }
  } finally {
    await Promise.all(stops.map((stop) => stop()))
    rmSync(directory, { recursive: true, force: true })
  }
}

/** Runs QEMU until it ends. Returns its exit status or signal, and its messages. */
async function boot(directory, mounts) {
  const args = [
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot', '-machine', 'q35', '-accel', 'tcg'],
    ...['-kernel', join(guestKernel, 'vmlinuz'), '-initrd', join(directory, 'initramfs'), '-append', COMMAND_LINE],
    ...PORTS.flatMap((port) => ['-serial', `file:${join(directory, port)}`]),
    ...mounts,
  ]
  const options = { stdio: ['ignore', 'ignore', 'pipe'], timeout: MAX_RUN_MS, killSignal: 'SIGKILL' }
  const qemu = spawn('qemu-system-x86_64', args, options)
  let complaints = ''
  qemu.stderr.setEncoding('utf8').on('data', (text) => (complaints += text))
  const [status, signal] = await once(qemu, 'close')
  return [status ?? signal, complaints]
}
