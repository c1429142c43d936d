// Podman with a root file system that contains only a static busybox.
import { whyNot } from '../../examples/sandboxes/choose.mjs'
import { launch } from '../../examples/sandboxes/launch.mjs'
import * as example from '../../examples/sandboxes/podman.mjs'
import { busybox, installBusybox } from './runc.mjs'

export function unavailable() {
  if (busybox === null) {
    return 'Podman has no root file system here: busybox is not installed'
  }
  const reason = whyNot({ command: (mounts, script) => command({ toDocker: () => mounts }, script) })
  return reason && `Podman does not work here with a static busybox: ${reason}`
}

export const render = (attachment) => attachment.toDocker({ engine: 'podman', byPath: true })

/** `prepare` gets the root directory before the container starts. `extra` arguments follow the mounts. */
export const command = (attachment, script, { prepare, extra } = {}) =>
  example.command(render(attachment), script, {
    makeRoot: (rootfs) => {
      installBusybox(rootfs)
      prepare?.(rootfs)
      return []
    },
    extra,
  })

export const run = (attachment, script, options) => launch(command(attachment, script, options))
