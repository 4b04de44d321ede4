import { transaction, type Queryable } from '../db/index.ts'
import type { DeclaredPoll } from './declared.ts'
import type { Position } from './position.ts'
import type { ScheduleDeps } from './scheduler.ts'

/** Which node polls: one claims the poll's row, and every write of it carries the claim's fence. */

export interface PollDeps extends ScheduleDeps {
  readonly node: string
  readonly stopping: () => boolean
}

/** What budgets answer to a call that is to wait. */
const OF_BUDGETS: ReadonlySet<string> = new Set(['rate_limited', 'concurrency_reached'])
/** What a breaker answers while its provider is away, and while those who waited for it are let go. */
const OF_OUTAGES = 'circuit_open'

/** A poll that this node has claimed. Every write carries the fence: one that was claimed by another writes nothing. */
export interface Claim {
  readonly fence: string
  readonly failures: number
  readonly stuck: { readonly delivery: string; readonly digest: Buffer } | undefined
  /** The time that a budget gave it when it said wait. */
  readonly promisedAt: number | undefined
  /** It waited for an outage: its next page goes with those who did, and is not held back until the last is through. */
  readonly waited: boolean
}

/** The poll, if it is due and no living node has it. */
export async function claim(
  { name, declaration }: DeclaredPoll,
  { database, tenant, node, clock }: PollDeps,
): Promise<{ readonly claim: Claim; readonly position: Position } | undefined> {
  const due = [tenant, name, declaration, new Date(clock.now())]
  const holders = await database.pool.query<{ node_id: string | null }>(
    `select node_id from schedules where tenant = $1 and name = $2 and declaration = $3 and state = 'active' and due_at <= $4`,
    due,
  )
  const holder = holders.rows[0]
  if (!holder) return undefined
  // One that this node holds already is not under way here: its end could not be written.
  if (holder.node_id !== null && holder.node_id !== node && (await lives(database.pool, holder.node_id)))
    return undefined
  const { rows } = await database.pool.query<{
    fence: string
    position: string
    failures: number
    stuck_delivery: string | null
    stuck_digest: Buffer | null
    due_at: Date
    error_code: string | null
  }>(
    `update schedules set fence = fence + 1, node_id = $5, updated_at = now()
     where tenant = $1 and name = $2 and declaration = $3 and state = 'active' and due_at <= $4
       and node_id is not distinct from $6
     returning fence, position, failures, stuck_delivery, stuck_digest, due_at, error_code`,
    [...due, node, holder.node_id],
  )
  const row = rows[0]
  if (!row) return undefined
  const { fence, failures, stuck_delivery: delivery, stuck_digest: digest } = row
  const stuck = delivery === null || digest === null ? undefined : { delivery, digest }
  const promisedAt = OF_BUDGETS.has(row.error_code ?? '') ? row.due_at.getTime() : undefined
  const waited = row.error_code === OF_OUTAGES
  return {
    claim: { fence, failures, stuck, promisedAt, waited },
    position: JSON.parse(row.position) as Position,
  }
}

/** Asked apart: nodes belong to no tenant, and where tables are distributed by tenant they lie elsewhere. */
async function lives(client: Queryable, node: string): Promise<boolean> {
  const { rowCount } = await client.query('select 1 from nodes where id = $1 and stopped_at is null', [node])
  return rowCount === 1
}

/** Gives the poll up for now; it is due at once, here or elsewhere. */
export async function release(poll: DeclaredPoll, held: Claim, deps: PollDeps): Promise<void> {
  await fenced(poll, held, deps, (client) =>
    client.query(`update schedules set node_id = null, updated_at = now() where tenant = $1 and name = $2`, [
      deps.tenant,
      poll.name,
    ]),
  )
}

/** Does the work in a transaction that holds the poll's row, or nothing where another node has claimed it since. */
export async function fenced<Result>(
  { name, declaration }: DeclaredPoll,
  { fence }: Claim,
  { database, tenant }: PollDeps,
  work: (client: Queryable) => Promise<Result>,
): Promise<Result | undefined> {
  return transaction(database.pool, async (client) => {
    const { rowCount } = await client.query(
      `select 1 from schedules where tenant = $1 and name = $2 and fence = $3 and declaration = $4 and state = 'active' for update`,
      [tenant, name, fence, declaration],
    )
    return rowCount === 1 ? work(client) : undefined
  })
}
