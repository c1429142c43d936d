// One attachment in several runtimes, one after the other: it is rendered for each.
import { SANDBOXES, whyNot } from './choose.mjs'
import { launch } from './launch.mjs'
import * as qemu from './qemu.mjs'

const [IS, IS_NOT] = ['|', '–']

/** Returns a row for each runtime but the given one: the output of a script in it, or why it does not work here. */
export async function lookInOthers(chosen, attachment, script) {
  const rows = SANDBOXES.filter((sandbox) => sandbox !== chosen).map((sandbox) => {
    const reason = whyNot(sandbox)
    return reason === null
      ? resultRow(sandbox, launch(sandbox.command(sandbox.render(attachment), script)))
      : [sandbox.name, IS_NOT, firstLine(reason)]
  })
  return [...rows, await lookInVirtualMachine(attachment, script)]
}

async function lookInVirtualMachine(attachment, script) {
  const reason = qemu.whyNot()
  return reason === null ? resultRow(qemu, await qemu.run(attachment, script)) : [qemu.name, IS_NOT, firstLine(reason)]
}

function resultRow({ name }, { status, stdout, stderr }) {
  if (status !== 0) {
    throw new Error(`${name} did not carry out the command: ${stderr}`)
  }
  return [name, IS, stdout.trim()]
}

const firstLine = (text) => text.split('\n', 1)[0]
