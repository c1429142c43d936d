// Reads CHANGELOG.md.

/** Returns the text below the heading `## <version> (<yyyy-mm-dd>)`, trimmed, or `null` if there is no such heading. */
export function section(text, version) {
  const [, ...sections] = text.split(/^## /m)
  for (const each of sections) {
    const [heading, ...lines] = each.split('\n')
    if (/^(\S+) \(\d{4}-\d\d-\d\d\)$/.exec(heading)?.[1] === version) {
      return lines.join('\n').trim()
    }
  }
  return null
}
