import { pause, RetryableError, type Clock, type Random } from '../../base/index.ts'
import type { Queryable } from '../../db/index.ts'
import { writeEntries, type LedgerEntry } from '../../ledger/index.ts'
import { exchange, NEW_BUDGET, type BudgetGrant, type BudgetState } from '../../resilience/index.ts'
import type { BudgetAuthority, Granted, LimitAsk } from './authority.ts'

/** Others may change a row between our reading and our writing it: then it is read again. */
const MOST_TRIES = 12
const SPREAD_MS = 12

export interface TableAuthorityOptions {
  readonly client: Queryable
  /** This process, as the others know it. */
  readonly node: string
  readonly clock: Clock
  readonly random: Pick<Random, 'next'>
  /** A transaction, for the change of a limit and its ledger entry. */
  readonly within: <Result>(work: (client: Queryable) => Promise<Result>) => Promise<Result>
}

interface Row {
  readonly place: number
  readonly state: string | null
  readonly version: string | null
  readonly now: number
}

/**
 * Budgets in the database, for all nodes. A question is one read and one write, each a statement of its own: no lock
 * is held in between, so a node that stands still holds nobody up. The database's clock decides.
 */
export function createTableAuthority({
  client,
  node,
  clock,
  random,
  within,
}: TableAuthorityOptions): BudgetAuthority {
  async function exchangeAll(asks: readonly LimitAsk[]): Promise<Granted> {
    const granted = new Map<number, { now: number; grant: BudgetGrant }>()
    let open = asks.map((_, i) => i)
    for (let tries = 0; open.length > 0; tries++) {
      if (tries === MOST_TRIES)
        throw new RetryableError('budget_contended', 'Too many nodes ask for the same budget at once.')
      // Who was overtaken waits for a moment that is not the others'.
      if (tries > 1) await pause(clock, random.next() * tries * SPREAD_MS)
      const rows = await readBudgets(client, asks, open)
      const changed = rows.map(({ place, state, version, now }) => {
        const { limit, ask } = asks[place]!
        const before = budgetOf(state)
        const answer = exchange(before, limit, { ...ask, node }, now)
        return { place, version, now, ...answer, was: before.stated ?? limit.allowed }
      })
      const corrected = changed.filter(({ was, grant }) => was !== grant.allowed)
      const written =
        corrected.length === 0
          ? await writeBudgets(client, asks, changed)
          : await within(async (inside) => {
              const done = await writeBudgets(inside, asks, changed)
              await writeEntries(
                inside,
                corrected
                  .filter(({ place }) => done.has(place))
                  .map((one) => correctedEntry(asks[one.place]!, one)),
              )
              return done
            })
      for (const { place, now, grant } of changed) if (written.has(place)) granted.set(place, { now, grant })
      open = open.filter((place) => !granted.has(place))
    }
    return asks.map((_, i) => granted.get(i)!)
  }
  return { exchange: exchangeAll }
}

/** The provider says that a window allows another number than it did, or than the connector declares. */
function correctedEntry(
  { tenant, connectionId, limit }: LimitAsk,
  { was, grant, now }: { readonly was: number; readonly grant: BudgetGrant; readonly now: number },
): LedgerEntry {
  const { name, windowMs, allowed: declared } = limit
  return {
    tenant,
    at: Math.round(now),
    actor: 'system',
    action: 'limit.changed',
    target: connectionId,
    outcome: grant.allowed === declared ? 'as_declared' : 'stated',
    connectionId,
    detail: { limit: name, windowMs, declared, was, allowed: grant.allowed },
  }
}

/** A budget as its row has it; what an older version wrote otherwise begins anew. */
export function budgetOf(state: string | null): BudgetState {
  if (state === null) return NEW_BUDGET
  const kept = { ...NEW_BUDGET, ...(JSON.parse(state) as Partial<BudgetState>) }
  const nodes = Object.entries(kept.nodes).filter(([, node]) => Number.isFinite(node.holds))
  return {
    ...kept,
    nodes: Object.fromEntries(nodes),
    foreign: { ...NEW_BUDGET.foreign, ...kept.foreign },
  }
}

async function readBudgets(
  client: Queryable,
  asks: readonly LimitAsk[],
  open: readonly number[],
): Promise<readonly Row[]> {
  const { rows } = await client.query<Row>({
    name: 'read_budgets',
    text: `select a.place, b.state, b.version, extract(epoch from clock_timestamp())::float8 * 1000 as now
      from unnest($1::int[], $2::text[], $3::text[], $4::text[]) as a (place, tenant, connection_id, limit_name)
      left join budgets b on b.tenant = a.tenant and b.connection_id = a.connection_id and b.limit_name = a.limit_name`,
    values: [open, ...keysOf(asks, open)],
  })
  return rows
}

interface Changed {
  readonly place: number
  readonly version: string | null
  readonly state: BudgetState
}

/** Writes what nobody changed meanwhile; the places of those that were written. */
async function writeBudgets(
  client: Queryable,
  asks: readonly LimitAsk[],
  changed: readonly Changed[],
): Promise<ReadonlySet<number>> {
  const places = changed.map(({ place }) => place)
  const { rows } = await client.query<{ place: number }>({
    name: 'write_budgets',
    text: `with a as (
        select * from unnest($1::int[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[])
          as a (place, tenant, connection_id, limit_name, state, version)),
      written as (
        insert into budgets (tenant, connection_id, limit_name, state)
        select tenant, connection_id, limit_name, state from a where version is null order by 1, 2, 3
        on conflict do nothing returning tenant, connection_id, limit_name),
      changed as (
        update budgets b set state = a.state, version = b.version + 1, updated_at = clock_timestamp()
        from a where a.version is not null and b.tenant = a.tenant and b.connection_id = a.connection_id
          and b.limit_name = a.limit_name and b.version = a.version
        returning b.tenant, b.connection_id, b.limit_name)
      select a.place from a join (select * from written union all select * from changed) w
        on w.tenant = a.tenant and w.connection_id = a.connection_id and w.limit_name = a.limit_name`,
    values: [
      places,
      ...keysOf(asks, places),
      changed.map(({ state }) => JSON.stringify(state)),
      changed.map(({ version }) => version),
    ],
  })
  return new Set(rows.map((row) => row.place))
}

function keysOf(asks: readonly LimitAsk[], places: readonly number[]): [string[], string[], string[]] {
  return [
    places.map((place) => asks[place]!.tenant),
    places.map((place) => asks[place]!.connectionId),
    places.map((place) => asks[place]!.limit.name),
  ]
}
