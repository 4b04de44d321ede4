import { firstIdAt, HOUR } from '../../base/index.ts'
import type { Queryable } from '../../db/index.ts'
import type { RunState } from '../../define/index.ts'

/** A count that stops at {@link COUNT_LIMIT}. */
interface Count {
  readonly count: number
  readonly more: boolean
}

export interface Overview {
  /** In the last hour. */
  readonly events: Count
  /** Runs that go on by themselves. */
  readonly going: Count
  /** Held runs, dead letters and quarantined things. */
  readonly people: Count
  /** The newest runs that wait for a person. */
  readonly runs: readonly {
    readonly id: string
    readonly flow: string
    readonly state: RunState
    readonly reason: string | null
  }[]
  readonly quarantined: number
}

/** Nothing is counted beyond this: a page that is watched must not cost more than what it watches. */
const COUNT_LIMIT = 10_000
const RUNS_SHOWN = 3

interface CountRow {
  readonly name: 'events' | 'going' | 'held' | 'quarantined'
  readonly count: string
}

/** What stands above the live page. Every count reads along the key or one partial index, and is cut off. */
export async function readOverview(client: Queryable, tenant: string, now: number): Promise<Overview> {
  const [counts, runs] = await Promise.all([
    client.query<CountRow>(
      `select 'events' as name, count(*) from (select 1 from events where tenant = $1 and id >= $2 limit $3) e
       union all select 'going', count(*) from (
         (select 1 from runs where tenant = $1 and state in ('queued', 'waiting', 'parked', 'undoing') limit $3)
         union all (select 1 from runs where tenant = $1 and state = 'running' limit $3)) g
       union all select 'held', count(*) from (
         select 1 from runs where tenant = $1 and state in ('held', 'dead_lettered') limit $3) h
       union all select 'quarantined', count(*) from (
         select 1 from quarantine where tenant = $1 and state = 'quarantined' limit $3) q`,
      [tenant, firstIdAt('evt', now - HOUR), COUNT_LIMIT],
    ),
    client.query<Overview['runs'][number]>(
      `select id, flow, state, reason from runs where tenant = $1 and state in ('held', 'dead_lettered')
       order by state desc, id desc limit $2`,
      [tenant, RUNS_SHOWN],
    ),
  ])
  const of = (name: CountRow['name']): number =>
    Number(counts.rows.find((row) => row.name === name)?.count ?? 0)
  return {
    events: cut(of('events')),
    going: cut(of('going')),
    people: cut(of('held') + of('quarantined')),
    runs: runs.rows,
    quarantined: of('quarantined'),
  }
}

function cut(count: number): Count {
  return { count: Math.min(count, COUNT_LIMIT), more: count >= COUNT_LIMIT }
}
