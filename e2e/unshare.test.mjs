// `attachment.mounts` alone is enough for `mount` to create the mounts.
import * as example from '../examples/sandboxes/unshare.mjs'
import { whyNot } from '../examples/sandboxes/choose.mjs'
import { launch } from '../examples/sandboxes/launch.mjs'
import { definesData } from './any-sandbox/data.mjs'
import { definesNested } from './any-sandbox/nested.mjs'
import { definesTmpfs } from './any-sandbox/tmpfs.mjs'
import { suite } from './support.mjs'

const reason = whyNot(example)

suite('Namespaces made by hand', reason && `unshare does not work here: ${reason}`, () => {
  const unshare = { run: (attachment, script) => launch(example.command(example.render(attachment), script)) }
  definesData(unshare)
  definesNested(unshare)
  definesTmpfs(unshare)
})
