// Tests for every kind of sandbox. A suite passes its `sandbox`: `{ render, command, run }`.
import { definesData } from './any-sandbox/data.mjs'
import { definesLifecycle } from './any-sandbox/lifecycle.mjs'
import { definesNested } from './any-sandbox/nested.mjs'
import { definesSubpath } from './any-sandbox/subpath.mjs'
import { definesTmpfs } from './any-sandbox/tmpfs.mjs'

export function definesAll(sandbox) {
  definesData(sandbox)
  definesNested(sandbox)
  definesTmpfs(sandbox)
  definesSubpath(sandbox)
  definesLifecycle(sandbox)
}
