import { NotFoundError, UsageError, type Clock } from '../base/index.ts'
import { transaction, type Database } from '../db/index.ts'
import { SCHEDULE_SOURCE, type AnyConnector } from '../define/index.ts'
import type { Inbox } from '../inbox/index.ts'
import { writeEntries, type Actor } from '../ledger/index.ts'
import { fireByHand } from './fire.ts'
import { movedTo } from './position.ts'

export interface ByHandDeps {
  readonly database: Pick<Database, 'pool'>
  readonly clock: Clock
  readonly inbox: Pick<Inbox, 'acceptWithin'>
  readonly connectorNamed: (name: string) => AnyConnector | undefined
}

interface Acting {
  readonly tenant: string
  readonly actor: Actor
}

/** What a person's word set going: a schedule's delivery, or a poll that is due now. */
export type SetGoing =
  | { readonly kind: 'cron'; readonly deliveryId: string }
  | { readonly kind: 'poll'; readonly dueAt: Date }

/**
 * Runs a schedule now, besides its times; has a poll read now. Throws `not_found`, and `state_conflict` for one that
 * the code has no more.
 */
export async function runSchedule(
  name: string,
  { tenant, actor }: Acting,
  { database, clock, inbox, connectorNamed }: ByHandDeps,
): Promise<SetGoing> {
  return transaction(database.pool, async (client) => {
    const row = await lockSchedule(client, name, tenant)
    const now = clock.now()
    if (row.kind === 'poll') {
      await client.query(
        'update schedules set due_at = least(due_at, $3), updated_at = now() where tenant = $1 and name = $2',
        [tenant, name, new Date(now)],
      )
      await writeEntries(client, [
        { tenant, at: now, actor, action: 'schedule.requested', target: name, outcome: 'due' },
      ])
      return { kind: 'poll', dueAt: new Date(now) }
    }
    const connector = connectorNamed(SCHEDULE_SOURCE)
    if (connector?.events[`schedule.${name}`] === undefined) throw gone(name)
    const { deliveryId } = await fireByHand(
      client,
      name,
      { tenant, actor, now, connector, previous: row.previous_at },
      { acceptWithin: (within, delivery) => inbox.acceptWithin(within, delivery), writeEntries },
    )
    return { kind: 'cron', deliveryId }
  })
}

/**
 * Has a poll read again from a time, or from the beginning (`undefined`); or go on from a later one, past what cannot
 * be read. Items that made an event once make no second one.
 */
export async function movePoll(
  name: string,
  to: Date | undefined,
  { tenant, actor }: Acting,
  { database, clock }: Pick<ByHandDeps, 'database' | 'clock'>,
): Promise<void> {
  await transaction(database.pool, async (client) => {
    const row = await lockSchedule(client, name, tenant)
    if (row.kind !== 'poll')
      throw new UsageError(
        'state_conflict',
        `"${name}" is a schedule, which reads nothing. Run it now with: trestle schedules run ${name}`,
      )
    const now = clock.now()
    const position = movedTo(to?.getTime())
    // The fence ends a reading that is under way: it must not put the cursor back.
    await client.query(
      `update schedules set position = $3, due_at = $4, fence = fence + 1, node_id = null, failures = 0, error_code = null,
         error = null, updated_at = now() where tenant = $1 and name = $2`,
      [tenant, name, JSON.stringify(position), new Date(now)],
    )
    await writeEntries(client, [
      {
        tenant,
        at: now,
        actor,
        action: 'schedule.moved',
        target: name,
        outcome: 'moved',
        detail: { to: position.cursor ?? 'beginning', before: JSON.parse(row.position!) as unknown },
      },
    ])
  })
}

interface Locked {
  readonly kind: 'cron' | 'poll'
  readonly previous_at: Date | null
  readonly position: string | null
}

async function lockSchedule(
  client: Parameters<typeof writeEntries>[0],
  name: string,
  tenant: string,
): Promise<Locked> {
  const { rows } = await client.query<Locked & { readonly state: string }>(
    'select kind, state, previous_at, position from schedules where tenant = $1 and name = $2 for update',
    [tenant, name],
  )
  const row = rows[0]
  if (!row)
    throw new NotFoundError(
      'schedule',
      name,
      'It has the name of its flow, and is set up when Trestle is next started. List them with GET /api/v1/schedules.',
    )
  if (row.state === 'retired') throw gone(name)
  return row
}

function gone(name: string): UsageError {
  return new UsageError(
    'state_conflict',
    `The schedule "${name}" is retired: no flow of this name starts on it any more.`,
  )
}
