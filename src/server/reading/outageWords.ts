import { durationWords } from '../../base/index.ts'
import type { OutageRecord, WaitingRuns } from '../../calls/index.ts'
import type { AnyFlow } from '../../define/index.ts'

/** Flows that are named one by one; the rest are counted. */
const NAMED = 5

/** How many of what wait, in the words of their flows: `41 invoices, 3 refunds`. */
export function waitingWords(
  waiting: readonly WaitingRuns[],
  flowNamed: (name: string) => AnyFlow | undefined,
): string {
  const named = waiting.slice(0, NAMED).map(({ flow, count }) => `${count} ${nounOf(flow, count, flowNamed)}`)
  const rest = waiting.slice(NAMED).reduce((sum, { count }) => sum + count, 0)
  return [...named, ...(rest === 0 ? [] : [`${rest} other runs`])].join(', ')
}

function nounOf(name: string, count: number, flowNamed: (name: string) => AnyFlow | undefined): string {
  const words = flowNamed(name)?.waitsAs
  if (words === undefined) return `${count === 1 ? 'run' : 'runs'} of ${name}`
  const { one, many } = typeof words === 'string' ? { one: words, many: `${words}s` } : words
  return count === 1 ? one : many
}

/** What there is to know about an outage, in one or two sentences. */
export function outageWords(
  outage: OutageRecord,
  waiting: string,
  drainMs: number | undefined,
  now: number,
): string {
  const what = outage.group === '' ? `"${outage.connection}"` : `"${outage.group}" of "${outage.connection}"`
  const forMs = durationWords((outage.endedAt ?? now) - outage.beganAt)
  const waits =
    waiting === ''
      ? ' Nothing waits.'
      : ` ${waiting} ${/^1 [^,]*$/.test(waiting) ? 'waits' : 'wait'}${drainMs === undefined ? '' : `, ${durationWords(drainMs)} of work once it is back`}.`
  switch (outage.state) {
    case 'open':
      return `${what} has been ${outage.cause === 'slow' ? 'too slow' : 'away'} for ${forMs}.${waits}`
    case 'isolated':
      return `${what} has been held back by hand for ${forMs}.${waits}`
    case 'half_open':
      return `${what} is back after ${durationWords((outage.returnedAt ?? now) - outage.beganAt)}; those who waited are let go, the oldest first.${waits}`
    case 'over':
      return `${what} was ${outage.cause === 'isolated' ? 'held back by hand' : outage.cause === 'slow' ? 'too slow' : 'away'} for ${forMs}.`
  }
}
