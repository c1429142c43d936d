// File leases of another process, like those of a guest. Loading this module starts a process that shows whether
// leases work.
import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { releaser } from './support.mjs'

/** Why leases of another process cannot be tested here, or false. */
export const withoutLeases = (() => {
  const dir = mkdtempSync(path.join(tmpdir(), 'sandbox-volumes-'))
  try {
    writeFileSync(path.join(dir, 'f'), '')
    const take = `import fcntl, os, sys
fcntl.fcntl(os.open(sys.argv[1], os.O_RDONLY), fcntl.F_SETLEASE, fcntl.F_RDLCK)`
    execFileSync('python3', ['-c', take, path.join(dir, 'f')], { stdio: 'ignore' })
    return false
  } catch {
    if (process.env.CI === 'true') assert.fail('python3 is missing, or file leases')
    return 'python3 is missing, or file leases'
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
})()

/**
 * Makes another process hold a write lease on a file, like a guest. `asked` resolves when the kernel asks it to
 * release the lease.
 */
export async function leaseFile(t, file) {
  const program = `import fcntl, os, signal, sys, threading
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGIO])
def say_when_asked():
    signal.sigwait([signal.SIGIO])
    os.write(1, b'asked')
threading.Thread(target=say_when_asked, daemon=True).start()
fd = os.open(sys.argv[1], os.O_RDWR)
fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
os.write(1, b'held')
sys.stdin.read()`
  const child = spawn('python3', ['-c', program, file], { stdio: ['pipe', 'pipe', 'inherit'] })
  const release = await releaser(t, child)
  return { asked: once(child.stdout, 'data'), release }
}
