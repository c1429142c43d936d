// The quickstart's typography: numbered steps, and a bar before everything that a sandbox said.
const emphasis = process.stdout.isTTY && !process.env.NO_COLOR
const bold = (text) => (emphasis ? `\u001b[1m${text}\u001b[22m` : text)
const dim = (text) => (emphasis ? `\u001b[2m${text}\u001b[22m` : text)

// A reader that has seen enough, as in `| head`, is no reason to leave the rest undone.
process.stdout.on('error', () => {})

let steps = 0

export function title(text) {
  console.log(bold(text))
}

export function step(text) {
  steps += 1
  console.log(`\n${bold(`${steps}. ${text}`)}`)
}

export function line(text) {
  console.log(`   ${text}`)
}

/** A command and what the sandbox answered. */
export function answer(script, { status, stdout, stderr }) {
  line(`$ ${script}`)
  for (const said of (stdout + stderr).trimEnd().split('\n')) {
    line(`${dim('|')} ${said}`)
  }
  if (status !== 0) {
    line(`${dim('|')} (exit status ${status})`)
  }
}

/** Rows of text in aligned columns. */
export function table(rows) {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)))
  for (const row of rows) {
    line(row.map((cell, column) => cell.padEnd(widths[column] + 2)).join('').trimEnd())
  }
}
