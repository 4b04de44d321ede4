import { durationWords } from '../../base/index.ts'
import { asStreak, RUNS_REMEMBERED, type Streak } from '../streaks.ts'
import { atWords, countWords, defineDetector, FACTS_LIMIT } from './detector.ts'

interface FailingCalls extends Streak {
  /** Runs among those whose calls failed that have not ended. */
  readonly waiting: number
  readonly flows: readonly string[]
}

/** Three calls in a row of one operation over one connection failed. */
export const failingCalls = defineDetector<FailingCalls>({
  kind: 'failing_calls',
  async facts({ client, tenant }) {
    const { rows } = await client.query<
      Parameters<typeof asStreak>[0] & { waiting: string; flows: readonly string[] | null }
    >(
      `select s.*, w.waiting, w.flows from call_streaks s cross join lateral (
         select count(*)::text as waiting, array_agg(distinct r.flow) as flows from runs r
         where r.tenant = s.tenant and r.id = any(s.run_ids) and r.state not in ('succeeded', 'undone', 'dead_lettered', 'cancelled')) w
       where s.tenant = $1 and s.alerted order by s.since limit ${FACTS_LIMIT}`,
      [tenant],
    )
    return rows.map((row) => ({
      ...asStreak(row),
      waiting: Number(row.waiting),
      flows: row.flows ?? [],
    }))
  },
  condition(streak) {
    const { target, total, inRow, since, succeededAt, failedAt, reason, waiting, flows } = streak
    const often =
      inRow === total
        ? `have failed ${inRow} times in a row since ${atWords(since)}`
        : `keep failing: ${total} of them since ${atWords(since)}, the last at ${atWords(failedAt)}`
    return {
      subject: `${streak.connectionId} ${target}`,
      title: `Calls to ${target} fail`,
      what: `Calls to ${target} ${often}. The last answer: ${reason}`,
      since,
      holdsUp:
        waiting === 0
          ? 'No run waits for it.'
          : `${streak.runIds.length >= RUNS_REMEMBERED ? 'At least ' : ''}${countWords(waiting, 'run')} of ${flows.join(', ')} ${waiting === 1 ? 'waits' : 'wait'} for it; they try again by themselves.`,
      todo:
        succeededAt !== undefined && inRow === 0
          ? `Nothing, if it stays like this: calls succeed again since ${atWords(succeededAt)}, and after ${durationWords(60_000)} without a failure this is over.`
          : `Look whether the provider has an outage, and at what was answered: trestle ledger --target ${target}`,
      connectionId: streak.connectionId,
    }
  },
  over: 'Its calls succeed again.',
})
