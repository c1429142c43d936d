// Bubblewrap with the /usr of the host, as the examples start it.
import * as example from '../../examples/sandboxes/bubblewrap.mjs'
import { whyNot } from '../../examples/sandboxes/choose.mjs'
import { launch } from '../../examples/sandboxes/launch.mjs'

export const render = (attachment) => attachment.toBubblewrap({ firstFd: 3 })

export function unavailable() {
  const reason = whyNot(example)
  return reason && `bubblewrap does not work here: ${reason}`
}

/** `extra` arguments follow the mounts. */
export const command = (attachment, script, { extra = [] } = {}) => ({
  ...example.command([...render(attachment), ...extra], script),
  descriptors: attachment.descriptors(),
})

export const run = (attachment, script, options) => launch(command(attachment, script, options))
