import {
  budgetPerSecond,
  parkedForCredential,
  readCorrectedLimits,
  WHOLE,
  type CredentialRef,
} from '../calls/index.ts'
import { transaction, type Queryable } from '../db/index.ts'
import { RAMP_POLICY, releaseNow } from '../resilience/index.ts'
import { countUnderWay, firstWaiting, makeReady, WAITED_FOR } from './letGo.ts'
import type { DrainDeps } from './outage.ts'

/**
 * Runs that wait for a credential have no time of their own: nothing is tried before there is another. When the vault
 * writes one it leaves a row in `credential_returns`, in the same transaction. Here the runs are let go for it, the oldest
 * first, at the pace of the ramp and then of the budget, as after an outage. Runs whose credential was refused look again
 * by themselves, and go at once with the others.
 */

export type ReturnDeps = Omit<DrainDeps, 'writeEntries'>

/** Returns of one look. */
const RETURNS_AT_ONCE = 100

/** Lets go, for each credential that came back, as many as may go now; gives how many there are. */
export async function drainReturns(deps: ReturnDeps): Promise<number> {
  const { rows } = await deps.database.pool.query<Key>({
    name: 'find_returns',
    text: 'select tenant, connection_id from credential_returns order by returned_at limit $1',
    values: [RETURNS_AT_ONCE],
  })
  for (const key of rows) await drainOne(key, deps)
  return rows.length
}

interface Key {
  readonly tenant: string
  readonly connection_id: string
}

async function drainOne(key: Key, deps: ReturnDeps): Promise<void> {
  const { database, clock, wake, connectorNamed, ramp = RAMP_POLICY } = deps
  await transaction(database.pool, async (client) => {
    const turn = await lockTurn(client, key)
    if (turn === undefined) return
    // Refused again meanwhile: who waits goes on waiting, for the next one.
    if (turn.state !== 'active') return deleteReturn(client, key)
    const now = clock.now()
    const waiting = namesOf(key)
    const connector = connectorNamed(turn.connector)
    const limited = { tenant: key.tenant, connectionId: key.connection_id }
    const release = releaseNow(
      ramp,
      {
        returnedAt: turn.returned_at.getTime(),
        usedUntil: (turn.used_until ?? turn.returned_at).getTime(),
        released: Number(turn.released),
      },
      {
        now,
        underWay: await countUnderWay(client, key.tenant, [waiting.missing, waiting.refused]),
        budget:
          connector &&
          budgetPerSecond(connector, WHOLE, await readCorrectedLimits(client, limited, connector)),
      },
    )
    const most = release.count + 1
    const found = [
      ...(await firstWaiting(client, key.tenant, [waiting.missing], most)),
      // Whoever was refused since then was refused with this one.
      ...(await firstWaiting(client, key.tenant, [waiting.refused], most, turn.changed_at)),
    ].sort((a, b) => (a.id < b.id ? -1 : 1))
    if (found.length === 0) return deleteReturn(client, key)
    const going = await makeReady(client, found.slice(0, release.count), now)
    await client.query({
      name: 'keep_return',
      text: 'update credential_returns set used_until = $3, released = released + $4 where tenant = $1 and connection_id = $2',
      values: [key.tenant, key.connection_id, new Date(release.usedUntil), going.length],
    })
    await wake(client, going)
  })
}

function namesOf({ connection_id: connectionId }: Key): Readonly<Record<CredentialRef['as'], string>> {
  return {
    missing: parkedForCredential({ connectionId, as: 'missing' }),
    refused: parkedForCredential({ connectionId, as: 'refused' }),
  }
}

interface Turn {
  readonly returned_at: Date
  readonly changed_at: Date
  readonly used_until: Date | null
  readonly released: string
  readonly state: string
  readonly connector: string
}

/** The return, if no other node lets go its runs at this moment. */
async function lockTurn(client: Queryable, key: Key): Promise<Turn | undefined> {
  const { rows } = await client.query<Turn>({
    name: 'lock_return',
    text: `select r.returned_at, r.changed_at, r.used_until, r.released, coalesce(c.state, 'revoked') as state, coalesce(c.connector, '') as connector
      from credential_returns r left join connections c on c.tenant = r.tenant and c.id = r.connection_id
      where r.tenant = $1 and r.connection_id = $2 for update of r skip locked`,
    values: [key.tenant, key.connection_id],
  })
  return rows[0]
}

async function deleteReturn(client: Queryable, key: Key): Promise<void> {
  await client.query('delete from credential_returns where tenant = $1 and connection_id = $2', [
    key.tenant,
    key.connection_id,
  ])
}

/**
 * Leaves a return for each connection whose credential is there although runs wait for it: they were on their way to the
 * database while the last were let go, or whoever wrote the credential left none.
 */
export async function findReturns({
  database,
  clock,
}: Pick<ReturnDeps, 'database' | 'clock'>): Promise<void> {
  await database.pool.query({
    name: 'find_waiting_for_credentials',
    // One look at the index for each name that is waited for, however many wait.
    text: `${WAITED_FOR}
      insert into credential_returns (tenant, connection_id, returned_at)
      select c.tenant, c.id, $1 from waited w
      join connections c on c.tenant = w.tenant and c.id = substring(w.parked_for from 9) and c.state = 'active'
      where w.parked_for like 'missing/%' and exists (select 1 from runs r where r.tenant = w.tenant and r.parked_for = w.parked_for
        and (r.state = 'parked' or (r.state = 'undoing' and r.due_at is null and r.node_id is null)))
      on conflict do nothing`,
    values: [new Date(clock.now())],
  })
}
