import type { Clock } from '../base/index.ts'
import { transaction, type Database, type Queryable } from '../db/index.ts'
import { SCHEDULE_SOURCE } from '../define/index.ts'
import type { LedgerEntry } from '../ledger/index.ts'
import type { Declared } from './declared.ts'
import { createOccurrences } from './occurrences.ts'
import { firstPosition } from './position.ts'

export interface SyncOptions {
  readonly database: Database
  readonly clock: Clock
  readonly tenant: string
  readonly declared: ReadonlyMap<string, Declared>
  readonly writeEntries: (client: Queryable, entries: readonly LedgerEntry[]) => Promise<void>
}

interface Known {
  readonly name: string
  readonly kind: string
  readonly declaration: string
  readonly state: 'active' | 'retired'
  readonly due_at: Date | null
}

/** Any number: those who bring the rows up to date at once do it one after another. */
const SYNC_LOCK = 7_263_105
/** The connection that events of schedules come over. The same in every installation, so that their keys are too. */
export const SCHEDULE_CONNECTION = 'con_schedule'

/**
 * Brings the rows to what the code declares. A new schedule is due at its first time from now on; one that changed
 * begins anew; one that is gone is retired. What stays keeps its next time, also where that has passed meanwhile.
 */
export async function syncSchedules(options: SyncOptions): Promise<void> {
  const { database, clock, tenant, declared } = options
  await transaction(database.pool, async (client) => {
    await client.query('select pg_advisory_xact_lock($1)', [SYNC_LOCK])
    await ensureSource(client, options)
    const { rows } = await client.query<Known>(
      'select name, kind, declaration, state, due_at from schedules where tenant = $1 order by name for update',
      [tenant],
    )
    const known = new Map(rows.map((row) => [row.name, row]))
    const now = clock.now()
    const entry = (action: LedgerEntry['action'], name: string, detail: unknown): LedgerEntry => ({
      tenant,
      at: now,
      actor: 'system',
      action,
      target: name,
      outcome: action === 'schedule.retired' ? 'retired' : 'active',
      detail,
    })
    const entries: LedgerEntry[] = []
    for (const one of declared.values()) {
      const before = known.get(one.name)
      if (before?.state === 'active' && before.kind === one.kind && before.declaration === one.declaration)
        continue
      await write(client, one, tenant, now)
      const changed = before?.state === 'active'
      if (isOverdue(before, now))
        entries.push(skipped(before, { tenant, now, why: 'the schedule was changed' }))
      entries.push(
        entry(changed ? 'schedule.changed' : 'schedule.added', one.name, {
          kind: one.kind,
          declaration: one.declaration,
          ...(before && { before: before.declaration }),
        }),
      )
    }
    for (const before of rows) {
      const { name, state, kind, declaration } = before
      if (state === 'retired' || declared.has(name)) continue
      if (isOverdue(before, now))
        entries.push(skipped(before, { tenant, now, why: 'the schedule was retired' }))
      await client.query(
        `update schedules set state = 'retired', due_at = null, node_id = null, fence = fence + 1, updated_at = now()
         where tenant = $1 and name = $2`,
        [tenant, name],
      )
      entries.push(entry('schedule.retired', name, { kind, declaration }))
    }
    const skips = entries.filter(({ action }) => action === 'schedule.skipped').map(({ target }) => target)
    if (skips.length > 0)
      await client.query(
        'update schedules set skipped = skipped + 1, skipped_at = $3 where tenant = $1 and name = any($2)',
        [tenant, skips, new Date(now)],
      )
    await options.writeEntries(client, entries)
  })
}

interface Overdue extends Known {
  readonly due_at: Date
}

/** It has a time that has come and that no node has fired. */
function isOverdue(known: Known | undefined, now: number): known is Overdue {
  return (
    known?.kind === 'cron' &&
    known.state === 'active' &&
    known.due_at !== null &&
    known.due_at.getTime() <= now
  )
}

/** The code that declared that time is gone: it does not run any more, and it is told. */
function skipped(
  { name, declaration, due_at }: Overdue,
  { tenant, now, why }: { readonly tenant: string; readonly now: number; readonly why: string },
): LedgerEntry {
  return {
    tenant,
    at: now,
    actor: 'system',
    action: 'schedule.skipped',
    target: name,
    outcome: 'skipped',
    detail: { from: due_at.toISOString(), declaration, why },
  }
}

/** Begins the schedule, or begins it anew: nothing of an earlier declaration counts any more, but the fence. */
async function write(client: Queryable, one: Declared, tenant: string, now: number): Promise<void> {
  const dueAt =
    one.kind === 'cron' ? createOccurrences(one.trigger.expression, one.trigger.zone).after(now) : now
  const position = one.kind === 'poll' ? JSON.stringify(firstPosition(one.trigger, now)) : null
  await client.query(
    `insert into schedules as s (tenant, name, kind, declaration, due_at, position) values ($1, $2, $3, $4, $5, $6)
     on conflict (tenant, name) do update set kind = excluded.kind, declaration = excluded.declaration, state = 'active',
       due_at = excluded.due_at, position = excluded.position, fence = s.fence + 1, node_id = null, failures = 0,
       previous_at = case when s.kind = 'cron' and excluded.kind = 'cron' then s.previous_at end,
       error_code = null, error = null, stuck_delivery = null, stuck_digest = null, updated_at = now()`,
    [tenant, one.name, one.kind, one.declaration, new Date(dueAt), position],
  )
}

/** What schedules make comes over a connection of the platform's own, which nobody declares and no call goes over. */
async function ensureSource(client: Queryable, { tenant, declared }: SyncOptions): Promise<void> {
  if (![...declared.values()].some((one) => one.kind === 'cron')) return
  await client.query(
    `insert into connections (tenant, id, name, connector, base_url, declared) values ($1, $2, $3, $3, '', false)
     on conflict do nothing`,
    [tenant, SCHEDULE_CONNECTION, SCHEDULE_SOURCE],
  )
}
