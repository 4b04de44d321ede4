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
import { runWords } from '../reading/words.ts'

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
    words: runWords(factsOf(row, waits, lane), now),
    steps: timelineOf(row.created_at.getTime(), steps.slice(-STEPS_SHOWN), attempts, waits),
    omitted: steps.length > STEPS_SHOWN,
    now,
  }
}
