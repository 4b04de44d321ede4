import { atWords, countWords, defineDetector, FACTS_LIMIT } from './detector.ts'

interface HeldRuns {
  readonly flow: string
  readonly count: number
  readonly since: number
  readonly newest: string
  readonly reason: string
}

const COUNTED = 1_000

/** Runs that only a person can let go on: an outcome that cannot be known, a quarantined answer, an undo that failed. */
export const heldRuns = defineDetector<HeldRuns>({
  kind: 'held_runs',
  async facts({ client, tenant }) {
    const { rows } = await client.query<{
      flow: string
      count: string
      since: Date
      newest: string
      reason: string | null
    }>(
      `select flow, count(*)::text as count, min(updated_at) as since, max(id) as newest, (array_agg(reason order by id desc))[1] as reason
       from (select id, flow, updated_at, reason from runs where tenant = $1 and state = 'held' order by id limit ${COUNTED}) held
       group by flow order by flow limit ${FACTS_LIMIT}`,
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
      title: `Runs of ${flow} wait for a person`,
      what: `${countWords(count, 'run')} of ${flow} ${count === 1 ? 'is' : 'are'} held since ${atWords(since)}: only a person can tell how to go on. The newest, ${newest}: ${reason}`,
      since,
      holdsUp: `${count === 1 ? 'This run stands' : 'These runs stand'} still, and so does what comes behind ${count === 1 ? 'it in its lane' : 'them in their lanes'}.`,
      todo: `Look at it and decide: trestle runs show ${newest}`,
      flow,
    }
  },
  over: 'No run of the flow waits for a person.',
})
