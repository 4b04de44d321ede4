import { newId } from '../base/index.ts'
import { transaction, type Queryable } from '../db/index.ts'
import { SCHEDULE_SOURCE, type AnyConnector } from '../define/index.ts'
import type { AcceptResult, VerifiedDelivery } from '../inbox/index.ts'
import type { Actor, LedgerEntry } from '../ledger/index.ts'
import type { DeclaredCron } from './declared.ts'
import type { Occurrences } from './occurrences.ts'
import { planFirings, type Firing, type FiringPlan } from './plan.ts'
import type { ScheduleDeps } from './scheduler.ts'
import { SCHEDULE_CONNECTION } from './sync.ts'

interface DueRow {
  readonly due_at: Date
  readonly previous_at: Date | null
}

/**
 * Fires a schedule that is due: its next time, the events of the times that run, their runs and what was skipped are
 * one transaction. Answers whether it is due again already. Another node that fires it now, or code that declares it
 * otherwise, leaves nothing to do.
 */
export async function fireDue(
  schedule: DeclaredCron,
  occurrences: Occurrences,
  now: number,
  deps: ScheduleDeps,
): Promise<boolean> {
  const { database, tenant, connectorNamed } = deps
  return transaction(database.pool, async (client) => {
    const { rows } = await client.query<DueRow>(
      `select due_at, previous_at from schedules
       where tenant = $1 and name = $2 and kind = 'cron' and state = 'active' and declaration = $3 and due_at <= $4
       for update skip locked`,
      [tenant, schedule.name, schedule.declaration, new Date(now)],
    )
    const row = rows[0]
    if (!row) return false
    const plan = planFirings({
      occurrences,
      missed: schedule.trigger.missed,
      dueAt: row.due_at.getTime(),
      previous: row.previous_at?.getTime(),
      now,
    })
    const connector = connectorNamed(SCHEDULE_SOURCE)!
    const entries: LedgerEntry[] = []
    for (const firing of plan.firings) {
      const accepted = await deps.acceptWithin(
        client,
        deliveryOf(schedule, firing, { tenant, connector, now, actor: 'system' }),
      )
      entries.push(firedEntry(schedule.name, firing, accepted, { tenant, now, actor: 'system' }))
    }
    if (plan.skipped) entries.push(skippedEntry(schedule, plan, { tenant, now }))
    await moveOn(client, schedule.name, plan, { tenant, now })
    await deps.writeEntries(client, entries)
    return plan.nextDueAt <= now
  })
}

/**
 * Fires a schedule now because a person asks for it. Its due times stay as they are, and it does not count as one of
 * them.
 */
export async function fireByHand(
  client: Queryable,
  name: string,
  by: {
    readonly tenant: string
    readonly actor: Actor
    readonly now: number
    readonly connector: AnyConnector
    readonly previous: Date | null
  },
  deps: Pick<ScheduleDeps, 'acceptWithin' | 'writeEntries'>,
): Promise<AcceptResult> {
  const firing = { scheduledFor: by.now, previous: by.previous?.getTime() }
  const accepted = await deps.acceptWithin(client, deliveryOf({ name }, firing, by, newId('evt')))
  await deps.writeEntries(client, [firedEntry(name, firing, accepted, by)])
  return accepted
}

/**
 * A firing as a delivery of the platform's own source. The event's id is made of schedule and due time, so that the
 * table of keys knows a time that was fired before, whatever happened to the schedule's row.
 */
function deliveryOf(
  { name }: { readonly name: string },
  { scheduledFor, previous }: Firing,
  {
    tenant,
    connector,
    now,
    actor,
  }: {
    readonly tenant: string
    readonly connector: AnyConnector
    readonly now: number
    readonly actor: Actor
  },
  byHand?: string,
): VerifiedDelivery {
  const at = new Date(scheduledFor).toISOString()
  const parsed = {
    scheduledFor: at,
    previous: previous === undefined ? null : new Date(previous).toISOString(),
  }
  return {
    tenant,
    connectionId: SCHEDULE_CONNECTION,
    connectionName: SCHEDULE_SOURCE,
    connector,
    actor,
    headers: [],
    contentType: 'application/json',
    body: Buffer.from(JSON.stringify(parsed)),
    receivedAt: now,
    parsed,
    events: [
      {
        id: [name, at, ...(byHand === undefined ? [] : [byHand])].join(' '),
        type: `schedule.${name}`,
        occurredAt: at,
        at: '',
      },
    ],
    contentUnique: false,
  }
}

interface Writing {
  readonly tenant: string
  readonly now: number
  readonly actor: Actor
}

function firedEntry(
  name: string,
  { scheduledFor, previous }: Firing,
  accepted: AcceptResult,
  { tenant, now, actor }: Writing,
): LedgerEntry {
  return {
    tenant,
    at: now,
    actor,
    action: 'schedule.fired',
    target: name,
    outcome: accepted.state,
    connectionId: SCHEDULE_CONNECTION,
    detail: {
      scheduledFor: new Date(scheduledFor).toISOString(),
      ...(previous === undefined ? {} : { previous: new Date(previous).toISOString() }),
      lateMs: now - scheduledFor,
      delivery: accepted.deliveryId,
    },
  }
}

function skippedEntry(
  { name, trigger }: DeclaredCron,
  { skipped }: FiringPlan,
  { tenant, now }: Omit<Writing, 'actor'>,
): LedgerEntry {
  const { from, to, count, exact } = skipped!
  return {
    tenant,
    at: now,
    actor: 'system',
    action: 'schedule.skipped',
    target: name,
    outcome: 'skipped',
    detail: {
      missed: trigger.missed,
      from: new Date(from).toISOString(),
      to: new Date(to).toISOString(),
      ...(exact ? { count } : { moreThan: count }),
    },
  }
}

async function moveOn(
  client: Queryable,
  name: string,
  { firings, skipped, nextDueAt }: FiringPlan,
  { tenant, now }: Omit<Writing, 'actor'>,
): Promise<void> {
  const last = firings.at(-1)
  await client.query(
    `update schedules set due_at = $3, previous_at = coalesce($4, previous_at), done_at = case when $4::timestamptz is null then done_at else $5 end,
       skipped = skipped + $6, skipped_at = case when $6 > 0 then $5 else skipped_at end,
       failures = 0, error_code = null, error = null, updated_at = now()
     where tenant = $1 and name = $2`,
    [
      tenant,
      name,
      new Date(nextDueAt),
      last === undefined ? null : new Date(last.scheduledFor),
      new Date(now),
      skipped?.count ?? 0,
    ],
  )
}
