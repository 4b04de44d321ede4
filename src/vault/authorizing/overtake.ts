import type { Clock } from '../../base/index.ts'
import type { Queryable } from '../../db/index.ts'
import type { Actor } from '../../ledger/index.ts'
import type { ConnectionRef, RecordEntry } from '../storage.ts'
import { GIVEN_UP } from './store.ts'

/** The code of one whose person agreed before something later that counts: another grant, or a revocation. */
export const OVERTAKEN = 'authorization_overtaken'

const REASON =
  'The connection was given another grant, or its grant was taken back, after the person had agreed. This authorization was not used. Begin again where it is still wanted.'

/**
 * Ends the authorizations of a connection whose person has agreed already, also those that were given up and may come
 * back, and records each. In the transaction of what a person did later, so that none of them undoes it afterwards; the
 * caller holds the connection's row.
 */
export type Overtake = (client: Queryable, connection: ConnectionRef) => Promise<void>

export function createOvertake(options: { readonly clock: Clock; readonly record: RecordEntry }): Overtake {
  const { clock, record } = options
  return async (client, { tenant, id }) => {
    const { rows } = await client.query<{ id: string; actor: string; name: string }>(
      `update authorizations a set state = 'failed', code = '${OVERTAKEN}', reason = $3, choices = null, answer = null,
         changed_at = to_timestamp($4::float8 / 1000)
       from connections c
       where a.tenant = $1 and a.connection_id = $2 and c.tenant = $1 and c.id = $2
         and (a.state in ('asking', 'answered', 'choosing') or (a.state = 'failed' and a.code = '${GIVEN_UP}'))
       returning a.id, a.actor, c.name`,
      [tenant, id, REASON, clock.now()],
    )
    for (const row of rows)
      await record(client, {
        tenant,
        at: clock.now(),
        actor: row.actor as Actor,
        action: 'authorization.failed',
        target: id,
        outcome: OVERTAKEN,
        connectionId: id,
        detail: { name: row.name, authorization: row.id, reason: REASON },
      })
  }
}
