import type { Queryable } from '../../db/index.ts'
import { eventSummaries, type EventSummary } from '../reading/lookups.ts'
import {
  factsOf,
  readAttempts,
  readLanePlace,
  readRun,
  readSteps,
  waitsOf,
  type RunRow,
} from '../reading/runs.ts'
import { timelineOf, type TimelineStep } from '../reading/timeline.ts'
import { runWords, type RunFacts } from '../reading/words.ts'

/** What the page of one run shows. */
export interface RunView {
  readonly row: RunRow
  readonly event: EventSummary | undefined
  /** Where it stands and what would move it. */
  readonly words: string
  readonly steps: readonly TimelineStep[]
  /** Whether there are more steps than are shown. */
  readonly omitted: boolean
  readonly now: number
}

const STEPS_SHOWN = 200

export async function readRunView(
  client: Queryable,
  tenant: string,
  id: string,
  now: number,
): Promise<RunView | undefined> {
  const row = await readRun(client, tenant, id)
  if (!row) return undefined
  const [steps, attempts, lane, events] = await Promise.all([
    readSteps(client, tenant, [id], STEPS_SHOWN + 1),
    readAttempts(client, tenant, [id]),
    readLanePlace(client, tenant, row),
    eventSummaries(client, tenant, [row.event_id]),
  ])
  const waits = waitsOf(row)
  return {
    row,
    event: events.get(row.event_id),
    words: runWords(leadFacts(factsOf(row, waits, lane)), now),
    steps: timelineOf(row.created_at.getTime(), steps.slice(-STEPS_SHOWN), attempts, waits),
    omitted: steps.length > STEPS_SHOWN,
    now,
  }
}

/** What its steps say beneath, the words above need not say too. */
function leadFacts(facts: RunFacts): RunFacts {
  const isSaid = facts.waits.length > 0 && (facts.state === 'held' || facts.state === 'parked')
  return { ...facts, waits: [], reason: isSaid ? undefined : facts.reason }
}

/** A text that changes whenever the run moves, finishes a step, or has another attempt. */
export async function readRunVersion(client: Queryable, tenant: string, id: string): Promise<string> {
  const { rows } = await client.query<{ version: string }>(
    `select concat_ws(' ', r.state, extract(epoch from r.updated_at),
       (select max(seq) from journal j where j.tenant = r.tenant and j.run_id = r.id),
       (select count(*) from attempts a where a.tenant = r.tenant and a.run_id = r.id),
       (select max(finished_at) from attempts a where a.tenant = r.tenant and a.run_id = r.id)) as version
     from runs r where r.tenant = $1 and r.id = $2`,
    [tenant, id],
  )
  return rows[0]?.version ?? ''
}
