import { atWords, countWords, defineDetector, FACTS_LIMIT } from './detector.ts'

interface DeadLetters {
  readonly flow: string
  readonly count: number
  readonly since: number
  readonly newest: string
  readonly reason: string
}

const COUNTED = 1_000

/** Runs of a flow gave up. One incident for each flow, until all were retried, replayed or cancelled. */
export const deadLetters = defineDetector<DeadLetters>({
  kind: 'dead_letters',
  async facts({ client, tenant }) {
    // From flow to flow by the index, however many dead letters each has; no more of them are counted than are told.
    const { rows } = await client.query<{
      flow: string
      count: string
      since: Date
      newest: string
      reason: string | null
    }>(
      `with recursive flows as (
         (select flow, 1 as n from runs where tenant = $1 and state = 'dead_lettered' order by flow limit 1)
         union all
         select f.flow, flows.n + 1 from flows cross join lateral (
           select flow from runs where tenant = $1 and state = 'dead_lettered' and flow > flows.flow order by flow limit 1) f
         where flows.n < ${FACTS_LIMIT})
       select flows.flow, c.count::text, c.since, n.id as newest, n.reason from flows
       cross join lateral (select count(*) as count, min(finished_at) as since from (
         select finished_at from runs where tenant = $1 and state = 'dead_lettered' and flow = flows.flow order by id limit ${COUNTED + 1}) s) c
       cross join lateral (select id, reason from runs where tenant = $1 and state = 'dead_lettered' and flow = flows.flow order by id desc limit 1) n`,
      [tenant],
    )
    return rows.map((row) => ({
      flow: row.flow,
      count: Number(row.count),
      since: row.since.getTime(),
      newest: row.newest,
      reason: row.reason ?? 'No reason was kept.',
    }))
  },
  condition({ flow, count, since, newest, reason }) {
    return {
      subject: flow,
      title: `Runs of ${flow} gave up`,
      what: `${countWords(count, 'run')} of ${flow} gave up and ${count === 1 ? 'is a dead letter' : 'are dead letters'} since ${atWords(since)}. The newest, ${newest}: ${reason}`,
      since,
      holdsUp: `What ${count === 1 ? 'this run was' : 'these runs were'} to do is not done, and will not be by itself.`,
      todo: `Mend the cause, then let them go on: trestle dead-letters, and trestle runs retry ${newest}`,
      flow,
    }
  },
  over: 'No dead letter of the flow is left.',
})
