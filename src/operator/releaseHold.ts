import { UsageError } from '../base/index.ts'
import { beginHold, type Hold } from './hold.ts'
import type { ActionContext } from './operator.ts'

/** What a person says where they let the platform stand still. */
export interface HoldWish {
  readonly reason: string
  /**
   * The database was put back from a copy by other means than `trestle restore`. `from`: when the copy was made, at
   * the earliest; default: the time of the newest entry of the ledger. `to`: when the former platform had stopped;
   * default now.
   */
  readonly restored?: { readonly from?: number; readonly to?: number }
}

/** Lets every node stand still: what comes in is kept, nothing is claimed, and nothing leaves. */
export async function holdPlatform(wish: HoldWish, context: ActionContext): Promise<Hold['id']> {
  const { client, clock, actor, writeEntries } = context
  const { rows } = await client.query<{ id: string }>(
    'select id from holds where released_at is null for update',
  )
  if (rows[0] && !wish.restored)
    throw new UsageError(
      'state_conflict',
      `The platform is in hold already (${rows[0].id}). See: trestle hold`,
    )
  const now = clock.now()
  const lost = wish.restored && {
    from: wish.restored.from ?? (await newestEntryAt(context)) ?? now,
    to: wish.restored.to ?? now,
  }
  return beginHold(
    client,
    { kind: lost ? 'restored' : 'operator', reason: wish.reason, actor, now, ...(lost && { lost }) },
    writeEntries,
  )
}

/** When the newest batch of the ledger was written: whatever is not in the database was begun after it, or was claimed. */
async function newestEntryAt({ client }: ActionContext): Promise<number | undefined> {
  const { rows } = await client.query<{ at: Date | null }>('select max(at) as at from ledger_batches')
  return rows[0]?.at?.getTime()
}

/** Ends every hold that is open: runs are claimed again from now on. */
export async function releaseHold(context: ActionContext): Promise<readonly Hold['id'][]> {
  const { client, clock, actor, writeEntries } = context
  const { rows } = await client.query<{ id: Hold['id']; kind: string; began_at: Date }>(
    `update holds set released_at = $1, released_by = $2
     where id in (select id from holds where released_at is null for update) returning id, kind, began_at`,
    [new Date(clock.now()), actor],
  )
  if (rows.length === 0)
    throw new UsageError('state_conflict', 'The platform is not in hold: there is nothing to release.')
  await writeEntries(
    client,
    rows.map((row) => ({
      tenant: 'default',
      at: clock.now(),
      actor,
      action: 'hold.released' as const,
      target: row.id,
      outcome: 'released',
      detail: { kind: row.kind, since: row.began_at.toISOString() },
    })),
  )
  return rows.map((row) => row.id)
}
