import type { Clock } from '../base/index.ts'
import type { Queryable } from '../db/index.ts'
import type { ConnectionRef } from './storage.ts'

/**
 * Says, in the transaction that writes a new credential or finds the old one accepted again, that whoever waits for it
 * may go on. Flows let them go, at the pace that the connection bears.
 */
export async function leaveReturn(client: Queryable, connection: ConnectionRef, clock: Clock): Promise<void> {
  await client.query(
    `insert into credential_returns (tenant, connection_id, returned_at) values ($1, $2, $3)
     on conflict (tenant, connection_id) do update
       set returned_at = excluded.returned_at, changed_at = now(), used_until = null, released = 0`,
    [connection.tenant, connection.id, new Date(clock.now())],
  )
}
