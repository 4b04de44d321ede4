import { DAY, HOUR } from '../../base/index.ts'
import type { Queryable } from '../../db/index.ts'
import type { AnyConnector, LimitDefinition } from '../../define/index.ts'
import { forecastOf, useOf, type BudgetForecast, type BudgetState } from '../../resilience/index.ts'
import { budgetOf } from './table.ts'

/** One limit of one connection: what is used of it, by whom, and where that leads. */
export interface BudgetReport {
  readonly connectionId: string
  readonly connection: string
  readonly limit: LimitDefinition
  /** What a window allows, as the provider says or else the connector declares. */
  readonly allowed: number
  /** Granted to our nodes in the window that ends now. */
  readonly used: number
  /** What others with the same credential take, as far as the provider's answers tell. */
  readonly foreign: number
  /** Nodes that use it now. */
  readonly nodes: number
  readonly inFlight: number
  /** Until when the provider wants nothing sent; `undefined`: it does not say so. */
  readonly blockedUntil: number | undefined
  readonly lastUsedAt: number | undefined
  /** Who spent it in the last 24 hours, most first. */
  readonly spentBy: readonly {
    readonly flow: string
    readonly calls: number
    readonly points: number
    /** Calls that the provider refused for want of points. */
    readonly refused: number
  }[]
  readonly forecast: BudgetForecast
}

export interface ReportedConnection {
  readonly id: string
  readonly name: string
  readonly connector: AnyConnector
}

/** What the tenant's connections use of their limits. */
export async function reportBudgets(
  client: Queryable,
  tenant: string,
  connections: readonly ReportedConnection[],
  now: number,
): Promise<BudgetReport[]> {
  const ids = connections.map(({ id }) => id)
  const [states, spent, peaks] = await Promise.all([
    readStates(client, tenant, ids),
    readSpent(client, tenant, ids, now),
    readPeaks(client, tenant, ids),
  ])
  return connections.flatMap(({ id, name, connector }) =>
    connector.limits.map((limit: LimitDefinition): BudgetReport => {
      const key = `${id} ${limit.name}`
      const known = states.get(key)
      const state = budgetOf(known?.state ?? null)
      const { used, allowed, foreign, nodes } = useOf(state, limit, now)
      const spentHere = spent.get(key) ?? []
      return {
        connectionId: id,
        connection: name,
        limit,
        allowed,
        used,
        foreign,
        nodes,
        inFlight: limit.concurrency === undefined ? 0 : placesTaken(state),
        blockedUntil: state.blockedUntil > now ? state.blockedUntil : undefined,
        lastUsedAt: known?.updatedAt.getTime(),
        spentBy: spentHere.map(({ flow, calls, points, refused }) => ({ flow, calls, points, refused })),
        forecast: forecastOf({
          allowed: Math.max(1, allowed - foreign),
          used,
          windowMs: limit.windowMs,
          rate: spentHere.reduce((sum, { lately }) => sum + lately, 0) / latelyMs(now),
          peaks: peaks.get(key) ?? [],
          now,
        }),
      }
    }),
  )
}

function placesTaken(state: BudgetState): number {
  return Object.values(state.nodes).reduce((sum, node) => sum + node.places, 0)
}

/** From the beginning of the hour before this one. */
function latelyMs(now: number): number {
  return HOUR + (now % HOUR)
}

async function readStates(
  client: Queryable,
  tenant: string,
  ids: readonly string[],
): Promise<Map<string, { readonly state: string; readonly updatedAt: Date }>> {
  const { rows } = await client.query<{
    connection_id: string
    limit_name: string
    state: string
    updated_at: Date
  }>(
    'select connection_id, limit_name, state, updated_at from budgets where tenant = $1 and connection_id = any($2)',
    [tenant, ids],
  )
  return new Map(
    rows.map((row) => [
      `${row.connection_id} ${row.limit_name}`,
      { state: row.state, updatedAt: row.updated_at },
    ]),
  )
}

interface SpentRow {
  readonly flow: string
  readonly calls: number
  readonly points: number
  readonly refused: number
  /** Of the points, those of {@link latelyMs}. */
  readonly lately: number
}

async function readSpent(
  client: Queryable,
  tenant: string,
  ids: readonly string[],
  now: number,
): Promise<Map<string, SpentRow[]>> {
  const { rows } = await client.query<SpentRow & { connection_id: string; limit_name: string }>(
    `select connection_id, limit_name, flow, sum(calls)::float8 as calls, sum(points)::float8 as points,
       sum(refused)::float8 as refused, coalesce(sum(points) filter (where hour >= $4), 0)::float8 as lately
     from budget_spending where tenant = $1 and connection_id = any($2) and hour > $3
     group by connection_id, limit_name, flow order by points desc`,
    [tenant, ids, new Date(now - DAY), new Date(now - latelyMs(now))],
  )
  const found = new Map<string, SpentRow[]>()
  for (const row of rows) {
    const key = `${row.connection_id} ${row.limit_name}`
    found.set(key, [...(found.get(key) ?? []), row])
  }
  return found
}

async function readPeaks(
  client: Queryable,
  tenant: string,
  ids: readonly string[],
): Promise<Map<string, { day: number; peak: number }[]>> {
  const { rows } = await client.query<{
    connection_id: string
    limit_name: string
    day: number
    peak: number
  }>(
    `select connection_id, limit_name, extract(epoch from day)::float8 * 1000 as day, peak
     from budget_peaks where tenant = $1 and connection_id = any($2) and day > now() - interval '28 days' order by day`,
    [tenant, ids],
  )
  const found = new Map<string, { day: number; peak: number }[]>()
  for (const { connection_id, limit_name, day, peak } of rows) {
    const key = `${connection_id} ${limit_name}`
    found.set(key, [...(found.get(key) ?? []), { day, peak }])
  }
  return found
}
