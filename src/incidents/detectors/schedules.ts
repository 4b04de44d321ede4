import { durationWords, MINUTE } from '../../base/index.ts'
import { atWords, countWords, defineDetector, FACTS_LIMIT } from './detector.ts'

interface ScheduleFact {
  readonly name: string
  readonly kind: 'cron' | 'poll'
  readonly dueAt: number
  readonly failures: number
  readonly failedAt: number | undefined
  readonly reason: string | undefined
  /** A page that cannot be read is kept in quarantine, and the cursor stays before it. */
  readonly stuck: boolean
}

/** Polls that failed so often in a row are told of: what may pass in a moment is not. */
const TOLD_AFTER = 3
/** A node looks every second, so what is this late is looked at by none. */
export const OVERDUE_MS = 5 * MINUTE

/** A poll does not come through, or what starts by itself does not start: a trigger that is dead without a word. */
export const schedules = defineDetector<ScheduleFact>({
  kind: 'schedule',
  async facts({ client, tenant, now }) {
    const { rows } = await client.query<{
      name: string
      kind: 'cron' | 'poll'
      due_at: Date
      failures: number
      failed_at: Date | null
      error: string | null
      stuck: boolean
    }>(
      `select name, kind, due_at, failures, failed_at, error, stuck_delivery is not null as stuck from schedules
       where tenant = $1 and state = 'active' and (failures >= ${TOLD_AFTER} or stuck_delivery is not null or due_at <= $2)
       order by name limit ${FACTS_LIMIT}`,
      [tenant, new Date(now - OVERDUE_MS)],
    )
    return rows.map((row) => ({
      name: row.name,
      kind: row.kind,
      dueAt: row.due_at.getTime(),
      failures: row.failures,
      failedAt: row.failed_at?.getTime(),
      reason: row.error ?? undefined,
      stuck: row.stuck,
    }))
  },
  condition({ name, kind, dueAt, failures, failedAt, reason, stuck }, now) {
    const about = { subject: name, flow: name }
    if (stuck || failures >= TOLD_AFTER)
      return {
        ...about,
        title: `The ${kind === 'poll' ? 'poll' : 'schedule'} of ${name} does not come through`,
        what: `The ${kind === 'poll' ? 'poll' : 'schedule'} of ${name} has failed ${countWords(failures, 'time')} in a row: ${reason ?? 'no reason was kept.'}`,
        since: failedAt ?? now,
        holdsUp: `Nothing new starts ${name}. Nothing is lost: it goes on from where it stopped.`,
        todo: stuck
          ? `Look at what came (trestle quarantine) and mend the connector's contract or the poll's source. To go past it: trestle schedules move ${name} --to TIME`
          : 'See what is wrong: trestle schedules. Of a poll also: trestle connections test NAME.',
      }
    return {
      ...about,
      title: `${name} does not start by itself`,
      what: `${kind === 'cron' ? 'The schedule' : 'The poll'} of ${name} has been due since ${atWords(dueAt)} (${durationWords(now - dueAt)}), and no node starts it.`,
      since: dueAt,
      holdsUp: `Runs of ${name}. When a node is up, times that passed are handled as its flow says.`,
      todo: 'Start a node with the role worker whose code has this flow, or release the hold if there is one: trestle hold.',
    }
  },
  over: 'It starts by itself again.',
})
