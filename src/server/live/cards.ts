import type { Queryable } from '../../db/index.ts'
import { RUN_ENDED, type EventState } from '../../define/index.ts'
import { connectionNames } from '../reading/lookups.ts'
import { readAttempts, readSteps, RUN_COLUMNS, waitsOf, type RunRow } from '../reading/runs.ts'
import { timelineOf, type TimelineStep } from '../reading/timeline.ts'

/** An event with what became of it, as the live page shows it. */
export interface Card {
  readonly event: CardEvent
  readonly runs: readonly CardRun[]
  /** Names of connections by id. */
  readonly names: ReadonlyMap<string, string>
}

interface CardEvent {
  readonly id: string
  readonly connection_id: string
  readonly type: string
  readonly summary: string | null
  readonly state: EventState
  readonly reason: string | null
  readonly received_at: Date
}

export interface CardRun {
  readonly row: RunRow
  /** The newest steps. */
  readonly steps: readonly TimelineStep[]
  /** Earlier steps that are left out. */
  readonly omitted: number
}

const RUNS_PER_CARD = 6
const STEPS_PER_RUN = 12
const ATTEMPTS_PER_RUN = 50

/** The newest events, newest first. */
export async function newestEvents(
  client: Queryable,
  tenant: string,
  most: number,
): Promise<readonly string[]> {
  const { rows } = await client.query<{ id: string }>(
    'select id from events where tenant = $1 order by id desc limit $2',
    [tenant, most],
  )
  return rows.map((row) => row.id)
}

/** Cards of these events, newest first. */
export async function readCards(
  client: Queryable,
  tenant: string,
  events: readonly string[],
): Promise<readonly Card[]> {
  if (events.length === 0) return []
  const [found, runs] = await Promise.all([
    client.query<CardEvent>(
      `select id, connection_id, type, summary, state, reason, received_at from events
       where tenant = $1 and id = any($2) order by id desc`,
      [tenant, [...events]],
    ),
    client.query<RunRow>(
      `select run.* from unnest($2::text[]) as asked(event_id) cross join lateral (
         select ${RUN_COLUMNS} from runs r where r.tenant = $1 and r.event_id = asked.event_id order by id desc limit $3) run
       order by run.id`,
      [tenant, [...events], RUNS_PER_CARD],
    ),
  ])
  const ids = runs.rows.map((row) => row.id)
  const [steps, attempts, names] = await Promise.all([
    readSteps(client, tenant, ids, STEPS_PER_RUN + 1),
    readAttempts(client, tenant, ids, ATTEMPTS_PER_RUN),
    connectionNames(
      client,
      tenant,
      found.rows.map((row) => row.connection_id),
    ),
  ])
  const cardRuns = runs.rows.map((row): CardRun => {
    const own = steps.filter((step) => step.run_id === row.id)
    const shown = own.slice(-STEPS_PER_RUN)
    const timeline = timelineOf(
      row.created_at.getTime(),
      shown,
      attempts.filter((attempt) => attempt.run_id === row.id),
      waitsOf(row),
    )
    // The journal's sequence counts from 1, so the first one shown tells how many came before.
    return { row, steps: timeline, omitted: own.length > STEPS_PER_RUN ? shown[0]!.seq - 1 : 0 }
  })
  return found.rows.map((event) => ({
    event,
    runs: cardRuns.filter(({ row }) => row.event_id === event.id),
    names,
  }))
}

/** Whether nothing will happen to any run of the card by itself. */
export function isSettled({ runs }: Card): boolean {
  return runs.every(({ row }) => RUN_ENDED.has(row.state))
}

/** For each of these events a text that changes whenever one of its runs moves or finishes a step. */
export async function readVersions(
  client: Queryable,
  tenant: string,
  events: readonly string[],
): Promise<ReadonlyMap<string, string>> {
  if (events.length === 0) return new Map()
  const { rows } = await client.query<{ event_id: string; version: string }>(
    `select r.event_id, string_agg(concat_ws(' ', r.id, r.state, extract(epoch from r.updated_at), coalesce(j.seq, 0)), ',' order by r.id) as version
     from runs r left join lateral (
       select seq from journal j where j.tenant = r.tenant and j.run_id = r.id order by seq desc limit 1) j on true
     where r.tenant = $1 and r.event_id = any($2) group by r.event_id`,
    [tenant, [...events]],
  )
  return new Map(rows.map((row) => [row.event_id, row.version]))
}
