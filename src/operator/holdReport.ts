import type { Queryable } from '../db/index.ts'
import type { RunState } from '../define/index.ts'
import { readHolds, type Hold } from './hold.ts'

/** Runs that a list names; the rest are counted. */
const NAMED = 50

/** Runs of one flow in one state that a lost time concerns. */
export interface DoubtfulRuns {
  readonly flow: string
  readonly state: RunState
  readonly runs: number
  /** Of these, runs with an attempt that was begun and whose outcome the copy does not know. */
  readonly withOpenAttempt: number
  readonly oldest: Date
}

/** One of them: what it waits for is put in doubt at its next step. */
export interface DoubtfulRun {
  readonly id: string
  readonly flow: string
  readonly state: RunState
  readonly createdAt: Date
  /** The newest step in its journal; the next one may have been done. */
  readonly lastStep: string | undefined
}

/** What a connection's provider may have told in the lost time. */
export interface UnknownSince {
  readonly connection: string
  readonly connector: string
  /** The newest event that the copy knows. */
  readonly lastEvent: { readonly id: string; readonly type: string; readonly receivedAt: Date } | undefined
  /** Whether it holds a grant whose token may have been exchanged since: it may have to be authorized anew. */
  readonly grant: boolean
}

export interface HoldReport {
  readonly hold: Hold | undefined
  readonly counts: readonly DoubtfulRuns[]
  /** The oldest of them. */
  readonly runs: readonly DoubtfulRun[]
  /** Runs in flight that slept beyond the lost time: nothing of them is in doubt. */
  readonly untouched: number
  /** Events that came in since the hold began, and wait. */
  readonly receivedSince: number
  readonly unknownSince: readonly UnknownSince[]
}

const IN_FLIGHT = `('queued', 'running', 'waiting', 'parked', 'held', 'undoing')`

/** What a person looks at before the platform goes on: what was in flight at the copy, and what the copy cannot know. */
export async function reportHold(client: Queryable, tenant: string): Promise<HoldReport> {
  const { open: hold } = await readHolds(client)
  const nothing = { counts: [], runs: [], untouched: 0, unknownSince: [] }
  if (!hold) return { hold, receivedSince: 0, ...nothing }
  const receivedSince = await countReceived(client, tenant, hold.beganAt)
  if (!hold.lostTo) return { hold, receivedSince, ...nothing }
  // What is there by then was in the copy.
  const concerned = [tenant, hold.beganAt, hold.id]
  return {
    hold,
    receivedSince,
    counts: await countDoubtful(client, concerned),
    runs: await listDoubtful(client, concerned),
    untouched: await countUntouched(client, concerned),
    unknownSince: await listUnknown(client, tenant, hold.beganAt),
  }
}

async function countReceived(client: Queryable, tenant: string, since: Date): Promise<number> {
  const { rows } = await client.query<{ count: string }>(
    'select count(*) as count from events where tenant = $1 and received_at >= $2',
    [tenant, since],
  )
  return Number(rows[0]!.count)
}

const DOUBTFUL = `r.tenant = $1 and r.created_at <= $2 and r.state in ${IN_FLIGHT}
  and not exists (select 1 from hold_untouched_runs u where u.tenant = r.tenant and u.run_id = r.id and u.hold_id = $3)`

async function countDoubtful(client: Queryable, concerned: unknown[]): Promise<DoubtfulRuns[]> {
  const { rows } = await client.query<{
    flow: string
    state: RunState
    runs: string
    open: string
    oldest: Date
  }>(
    `select r.flow, r.state, count(*) as runs, min(r.created_at) as oldest,
       count(*) filter (where exists (select 1 from attempts a where a.tenant = r.tenant and a.run_id = r.id and a.state is null)) as open
     from runs r where ${DOUBTFUL} group by r.flow, r.state order by r.flow, r.state`,
    concerned,
  )
  return rows.map(({ flow, state, runs, open, oldest }) => ({
    flow,
    state,
    runs: Number(runs),
    withOpenAttempt: Number(open),
    oldest,
  }))
}

async function listDoubtful(client: Queryable, concerned: unknown[]): Promise<DoubtfulRun[]> {
  const { rows } = await client.query<{
    id: string
    flow: string
    state: RunState
    created_at: Date
    last_step: string | null
  }>(
    `select r.id, r.flow, r.state, r.created_at,
       (select j.name from journal j where j.tenant = r.tenant and j.run_id = r.id order by j.seq desc limit 1) as last_step
     from runs r where ${DOUBTFUL} order by r.created_at, r.id limit ${NAMED}`,
    concerned,
  )
  return rows.map((row) => ({
    id: row.id,
    flow: row.flow,
    state: row.state,
    createdAt: row.created_at,
    lastStep: row.last_step ?? undefined,
  }))
}

async function countUntouched(client: Queryable, [tenant, , hold]: unknown[]): Promise<number> {
  const { rows } = await client.query<{ count: string }>(
    'select count(*) as count from hold_untouched_runs where tenant = $1 and hold_id = $2',
    [tenant, hold],
  )
  return Number(rows[0]!.count)
}

/** Connections whose providers tell us of events, or whose credential changes by itself. */
async function listUnknown(client: Queryable, tenant: string, copied: Date): Promise<UnknownSince[]> {
  const { rows } = await client.query<{
    name: string
    connector: string
    event_id: string | null
    type: string | null
    received_at: Date | null
    has_grant: boolean
  }>(
    `select c.name, c.connector, e.id as event_id, e.type, e.received_at,
       exists (select 1 from secrets s where s.tenant = c.tenant and s.connection_id = c.id and s.field = 'grant') as has_grant
     from connections c
     left join lateral (select id, type, received_at from events e where e.tenant = c.tenant and e.connection_id = c.id
       and e.received_at <= $2 order by e.received_at desc, e.id desc limit 1) e on true
     where c.tenant = $1 and c.state <> 'revoked' order by c.name`,
    [tenant, copied],
  )
  return rows.map((row) => ({
    connection: row.name,
    connector: row.connector,
    lastEvent:
      row.event_id === null ? undefined : { id: row.event_id, type: row.type!, receivedAt: row.received_at! },
    grant: row.has_grant,
  }))
}
