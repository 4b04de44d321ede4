import { pageAfter, type Queryable } from '../../db/index.ts'

export interface FeedCursors {
  readonly events: string
  readonly ledger: string
}

export interface Changes {
  /** Events that are new, or whose runs did something. */
  readonly events: readonly string[]
  readonly cursors: FeedCursors
  /** There was more than one look reads. */
  readonly overflow: boolean
}

const ROWS_PER_TICK = 500

/** What was committed since the cursors: new events, and events of runs that have a new ledger entry. */
export async function readChanges(client: Queryable, tenant: string, cursors: FeedCursors): Promise<Changes> {
  const events = pageAfter({
    cursor: cursors.events,
    order: 'oldest_first',
    limit: ROWS_PER_TICK,
    parameter: 2,
  })
  const ledger = pageAfter({
    cursor: cursors.ledger,
    order: 'oldest_first',
    limit: ROWS_PER_TICK,
    parameter: 2,
  })
  const [fresh, entries] = await Promise.all([
    client.query<{ id: string; page_xid: string }>(
      `select id, ${events.column} from events where tenant = $1 and ${events.where} ${events.tail}`,
      [tenant, ...events.values],
    ),
    client.query<{ id: string; run_id: string | null; page_xid: string }>(
      `select id, run_id, ${ledger.column} from ledger where tenant = $1 and ${ledger.where} ${ledger.tail}`,
      [tenant, ...ledger.values],
    ),
  ])
  const newEvents = events.read(fresh.rows)
  const newEntries = ledger.read(entries.rows)
  const runs = [...new Set(newEntries.rows.flatMap((row) => (row.run_id === null ? [] : [row.run_id])))]
  return {
    events: [...newEvents.rows.map((row) => row.id), ...(await eventsOfRuns(client, tenant, runs))],
    cursors: { events: newEvents.next ?? cursors.events, ledger: newEntries.next ?? cursors.ledger },
    overflow: newEvents.more || newEntries.more,
  }
}

async function eventsOfRuns(
  client: Queryable,
  tenant: string,
  runs: readonly string[],
): Promise<readonly string[]> {
  if (runs.length === 0) return []
  const { rows } = await client.query<{ event_id: string }>(
    'select distinct event_id from runs where tenant = $1 and id = any($2)',
    [tenant, [...runs]],
  )
  return rows.map((row) => row.event_id)
}
