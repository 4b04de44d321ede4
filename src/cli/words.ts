import colors from 'picocolors'
import type { Clock } from '../base/index.ts'
import { timeWords } from './times.ts'

/** A state in its colour: green is done, red needs a person, yellow waits. */
export function stateWords(state: string): string {
  const words = state.replaceAll('_', ' ')
  switch (state) {
    case 'succeeded':
    case 'dispatched':
    case 'active':
    case 'accepted':
    case 'released':
      return colors.green(words)
    case 'dead_lettered':
    case 'held':
    case 'quarantined':
    case 'failed':
    case 'needs_reauthorization':
      return colors.red(words)
    case 'waiting':
    case 'parked':
    case 'undoing':
    case 'in_doubt':
    case 'unmatched':
      return colors.yellow(words)
    default:
      return words
  }
}

/** The API writes moments in UTC; here they are shown in the zone of this machine, like all others. */
export function inLocalTime(sentence: string, clock: Clock): string {
  return sentence.replace(
    /(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:\.\d+)?(?: UTC|Z)/g,
    (_, day: string, time: string) => timeWords(`${day}T${time}Z`, clock),
  )
}

/** The last line of a list that shows a part only. */
export function moreWords(page: { readonly more: boolean; readonly items: readonly unknown[] }): string {
  return page.more
    ? colors.dim(`\nThe newest ${page.items.length}. More: -n COUNT, or --cursor with "next" of --json.`)
    : ''
}
