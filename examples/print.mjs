// The output of the quickstart: numbered steps, and a bar before each line of a sandbox.
const emphasis = process.stdout.isTTY && !process.env.NO_COLOR
const bold = (text) => (emphasis ? `\u001b[1m${text}\u001b[22m` : text)
const dim = (text) => (emphasis ? `\u001b[2m${text}\u001b[22m` : text)

// A reader that stops early, as in `| head`, must not stop the program.
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

/** Prints a command and the answer of the sandbox. */
export function answer(script, { status, stdout, stderr }) {
  line(`$ ${script}`)
  for (const said of (stdout + stderr).trimEnd().split('\n')) {
    line(`${dim('|')} ${said}`)
  }
  if (status !== 0) {
    line(`${dim('|')} (exit status ${status})`)
  }
}

/** Returns rows of text in aligned columns. */
export function table(rows) {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)))
  for (const row of rows) {
    line(row.map((cell, column) => cell.padEnd(widths[column] + 2)).join('').trimEnd())
  }
}
