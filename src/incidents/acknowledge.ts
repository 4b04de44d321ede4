import { NotFoundError, UsageError, type Clock } from '../base/index.ts'
import type { Queryable } from '../db/index.ts'
import { writeEntries, type Actor } from '../ledger/index.ts'
import { INCIDENT_MOVES, type IncidentState } from './incident.ts'

/**
 * A person has seen it and takes care of it. It stays until it is over. Throws {@link NotFoundError}, or a
 * {@link UsageError} `state_conflict` where it is acknowledged or resolved already. Call it in a transaction.
 */
export async function acknowledgeIncident(
  client: Queryable,
  id: string,
  acting: { readonly tenant: string; readonly actor: Actor; readonly clock: Clock },
): Promise<void> {
  const { tenant, actor, clock } = acting
  const { rows } = await client.query<{ state: IncidentState; acknowledged_by: string | null }>(
    'select state, acknowledged_by from incidents where tenant = $1 and id = $2 for no key update',
    [tenant, id],
  )
  const found = rows[0]
  if (!found) throw new NotFoundError('incident', id, 'List them with GET /api/v1/incidents.')
  if (!(INCIDENT_MOVES[found.state] as readonly string[]).includes('acknowledged'))
    throw new UsageError(
      'state_conflict',
      found.state === 'acknowledged'
        ? `${id} was acknowledged by ${found.acknowledged_by} already.`
        : `${id} is over already.`,
    )
  await client.query(
    `update incidents set state = 'acknowledged', acknowledged_at = $3, acknowledged_by = $4 where tenant = $1 and id = $2`,
    [tenant, id, new Date(clock.now()), actor],
  )
  await writeEntries(client, [
    {
      tenant,
      at: clock.now(),
      actor,
      action: 'incident.acknowledged',
      target: id,
      outcome: 'acknowledged',
    },
  ])
}
