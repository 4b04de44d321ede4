import type { Queryable } from '../../db/index.ts'
import type { Health } from '../../resilience/index.ts'
import type { BreakerKey } from './store.ts'

/**
 * What nodes tell each other of providers that something is wrong with. Each node has a row for each such group, with
 * its own counts; who reads them all counts as one node would that makes all calls.
 */
export interface GroupHealth extends BreakerKey {
  readonly health: Health
}

/** Whose calls show how providers are. */
export interface HealthSource {
  /** What this node's own calls show of groups that something is wrong with, here or elsewhere. */
  tell(): readonly GroupHealth[]
  /** What the calls of all other nodes show: of each group what each of them counted. */
  hear(others: readonly GroupHealth[]): void
}

/** Rows of nodes that said nothing for so many windows are deleted. */
const FORGET_WINDOWS = 4

/** Tells the others what this node knows, and answers what they know, in one statement. */
export async function exchangeHealth(
  client: Queryable,
  own: readonly GroupHealth[],
  { node, now, windowMs }: { readonly node: string; readonly now: number; readonly windowMs: number },
): Promise<readonly GroupHealth[]> {
  const { rows } = await client.query<{
    tenant: string
    connection_id: string
    op_group: string
    slot: string
    results: string
  }>({
    name: 'exchange_health',
    text: `with told as (
        insert into provider_health (tenant, connection_id, op_group, node, slot, results, heard_at)
        select u.tenant, u.connection_id, u.op_group, $1, u.slot, u.results, $2
        from unnest($5::text[], $6::text[], $7::text[], $8::bigint[], $9::text[]) as u(tenant, connection_id, op_group, slot, results)
        on conflict (tenant, connection_id, op_group, node) do update
          set slot = excluded.slot, results = excluded.results, heard_at = excluded.heard_at),
      forgotten as (
        delete from provider_health where (tenant, connection_id, op_group, node) in (
          select tenant, connection_id, op_group, node from provider_health where heard_at < $4 for update skip locked))
      select tenant, connection_id, op_group, slot, results from provider_health where node <> $1 and heard_at > $3`,
    values: [
      node,
      new Date(now),
      new Date(now - windowMs),
      new Date(now - FORGET_WINDOWS * windowMs),
      own.map(({ tenant }) => tenant),
      own.map(({ connectionId }) => connectionId),
      own.map(({ group }) => group),
      own.map(({ health }) => health.slot),
      own.map(({ health }) => JSON.stringify(health.results)),
    ],
  })
  return rows.map((row) => ({
    tenant: row.tenant,
    connectionId: row.connection_id,
    group: row.op_group,
    health: { slot: Number(row.slot), results: JSON.parse(row.results) as Health['results'] },
  }))
}

/** Within the transaction that opens or closes a breaker: what was counted before it says nothing new after it. */
export async function forgetHealth(
  client: Queryable,
  { tenant, connectionId, group }: BreakerKey,
): Promise<void> {
  await client.query({
    name: 'forget_health',
    // A row that its node is writing at this moment is left: nobody waits for anybody here.
    text: `delete from provider_health where (tenant, connection_id, op_group, node) in (
        select tenant, connection_id, op_group, node from provider_health
        where tenant = $1 and connection_id = $2 and ($3 = '' or op_group = $3) for update skip locked)`,
    values: [tenant, connectionId, group],
  })
}
