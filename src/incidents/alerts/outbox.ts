import { HOUR, MINUTE, SECOND, type Clock, type Random } from '../../base/index.ts'
import { transaction, type Database, type Queryable } from '../../db/index.ts'
import { writeEntries } from '../../ledger/index.ts'
import { nextAttempt } from '../../resilience/index.ts'
import type { AlertPayload } from '../incident.ts'
import { storable } from '../streaks.ts'
import type { Alert, Told } from './channel.ts'

/** An alert that this node is about to send. */
export interface ClaimedAlert extends Alert {
  readonly tenant: string
  readonly incidentId: string
  readonly channel: string
  /** Number of this attempt, from 1. */
  readonly attempt: number
  readonly createdAt: number
}

/** How an alert that was not taken is tried again: for three days, like a call. */
export const ALERT_RETRY = {
  first: 5 * SECOND,
  cap: 15 * MINUTE,
  horizon: 72 * HOUR,
  attempts: Number.POSITIVE_INFINITY,
} as const
/** A node that dies with alerts under way leaves them to others after this long: longer than any attempt takes. */
export const CLAIM_MS = 2 * MINUTE
const AT_ONCE = 10

/**
 * Takes alerts that are due. Of one incident and channel the opening goes before reminders, and these before the end, which waits for all. What
 * comes first is told by what it says: ids begin with the time of the node that made them, and clocks differ.
 */
export async function claimAlerts(
  client: Queryable,
  tenant: string,
  now: number,
): Promise<readonly ClaimedAlert[]> {
  const { rows } = await client.query<{
    tenant: string
    id: string
    incident_id: string
    channel: string
    payload: Buffer
    attempts: number
    created_at: Date
  }>(
    `update alerts set attempts = attempts + 1, due_at = $3
     where tenant = $1 and state = 'waiting' and id in (
       select a.id from alerts a where a.tenant = $1 and a.state = 'waiting' and a.due_at <= $2 and not exists (
         select 1 from alerts e where a.change <> 'opened' and e.tenant = a.tenant and e.incident_id = a.incident_id and e.channel = a.channel
           and e.state = 'waiting' and (e.change = 'opened' or a.change = 'resolved' and e.change = 'reminded'))
       order by a.due_at limit ${AT_ONCE} for update skip locked)
     returning tenant, id, incident_id, channel, payload, attempts, created_at`,
    [tenant, new Date(now), new Date(now + CLAIM_MS)],
  )
  return rows.map((row) => ({
    tenant: row.tenant,
    id: row.id,
    incidentId: row.incident_id,
    channel: row.channel,
    attempt: row.attempts,
    createdAt: row.created_at.getTime(),
    payload: JSON.parse(row.payload.toString('utf8')) as AlertPayload,
  }))
}

/** Writes how an attempt ended: it is over, or due again. With its ledger entry where it is over. */
export async function settleAlert(
  { database, clock, random }: Settling,
  alert: ClaimedAlert,
  told: Told,
): Promise<void> {
  const now = clock.now()
  const end = endOf(alert, told, now, random)
  await transaction(database.pool, async (client) => {
    const { rowCount } = await client.query(
      `update alerts set state = $3, due_at = $4, last_error = $5, settled_at = $6 where tenant = $1 and id = $2 and state = 'waiting'`,
      [
        alert.tenant,
        alert.id,
        end.state,
        new Date(end.state === 'waiting' ? end.at : now),
        told.as === 'told' ? null : storable(told.reason),
        end.state === 'waiting' ? null : new Date(now),
      ],
    )
    if (end.state === 'waiting' || rowCount !== 1) return
    await writeEntries(client, [
      {
        tenant: alert.tenant,
        at: now,
        actor: 'system',
        action: end.state === 'sent' ? 'alert.sent' : 'alert.gave_up',
        target: alert.incidentId,
        outcome: end.state,
        detail: {
          alert: alert.id,
          channel: alert.channel,
          change: alert.payload.change,
          attempts: alert.attempt,
          ...(told.as === 'told'
            ? told.note === undefined
              ? {}
              : { note: told.note }
            : { reason: told.reason }),
        },
      },
    ])
  })
}

export interface Settling {
  readonly database: Pick<Database, 'pool'>
  readonly clock: Clock
  readonly random: Random
}

type End =
  | { readonly state: 'sent' }
  | { readonly state: 'given_up' }
  | { readonly state: 'waiting'; readonly at: number }

/** What becomes of an alert after an attempt. */
export function endOf(
  { attempt, createdAt }: Pick<ClaimedAlert, 'attempt' | 'createdAt'>,
  told: Told,
  now: number,
  random: Pick<Random, 'next'>,
): End {
  if (told.as === 'told') return { state: 'sent' }
  if (told.as === 'refused') return { state: 'given_up' }
  const next = nextAttempt({ attempt, policy: ALERT_RETRY, elapsedMs: now - createdAt, now, random })
  return next.as === 'retry' ? { state: 'waiting', at: next.at } : { state: 'given_up' }
}
