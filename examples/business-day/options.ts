/** What the command line asks for. */
export interface Options {
  /** Ends after the day. */
  readonly once: boolean
  /** Prints the summary as one JSON object on the last line. */
  readonly json: boolean
}

export const HELP = `A business day on Trestle: five providers, the business's own app, and everything that goes wrong.

  npm run demo                       play the day, then stay up
  npm run demo -- --once             end after the day: 0 if every effect is there exactly once, else 1
  npm run demo -- --once --json      the summary as one JSON object on the last line

Keys, once the day is over:
  o  take QuickBooks down, and up again
  d  have the providers send a storm of duplicates
  k  kill a worker (SIGKILL)
  q  quit

Exit codes: 0 done, 1 an effect is missing or doubled or the demo could not run, 2 a flag that there is not.
NO_COLOR switches colours off.
`

/** Reads the flags. Gives a sentence where there is one that it does not know. */
export function readOptions(args: readonly string[]): Options | 'help' | { readonly mistake: string } {
  if (args.includes('--help') || args.includes('-h')) return 'help'
  const unknown = args.find((arg) => arg !== '--once' && arg !== '--json')
  if (unknown !== undefined)
    return { mistake: `There is no "${unknown}". There are: --once, --json, --help.` }
  return { once: args.includes('--once'), json: args.includes('--json') }
}
