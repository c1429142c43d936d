// What the commands of this folder share: their arguments, and their end.
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

/** The root of the project. */
export const root = fileURLToPath(new URL('../..', import.meta.url))

/** Prints lines to standard error and ends the process with status 1. */
export function fail(...lines) {
  console.error(lines.join('\n'))
  process.exit(1)
}

/**
 * Reads the arguments of a command, or ends the process with the usage if they do not fit.
 * @param {string} usage The arguments as a person writes them.
 * @param {import('node:util').ParseArgsConfig['options']} options
 * @param {number} positionals How many arguments are not options.
 */
export function readArguments(usage, options, positionals) {
  try {
    const parsed = parseArgs({ options, allowPositionals: positionals > 0 })
    if (parsed.positionals.length === positionals) {
      return parsed
    }
  } catch (error) {
    fail(error.message, `Usage: ${usage}`)
  }
  return fail(`Usage: ${usage}`)
}
