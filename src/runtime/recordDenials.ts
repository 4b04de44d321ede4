import type { Clock } from '../base/index.ts'
import { transaction, type Database } from '../db/index.ts'
import type { EgressOptions } from '../egress/index.ts'
import { writeEntries } from '../ledger/index.ts'

/**
 * Writes one entry for everything that the policy of egress refuses: calls, token endpoints, alerts, tests of
 * connections. A record that cannot be written is reported; the refusal stands.
 */
export function recordDenials({
  database,
  clock,
  tenant,
  onFault,
}: {
  readonly database: Pick<Database, 'pool'>
  readonly clock: Clock
  /** Whose it is where nobody is named: alerts and token endpoints are what the installation's operator wrote down. */
  readonly tenant: string
  readonly onFault: (what: string, error: unknown) => void
}): NonNullable<EgressOptions['onDenied']> {
  return async ({ target, reason, onBehalfOf }) => {
    try {
      await transaction(database.pool, (client) =>
        writeEntries(client, [
          {
            tenant: onBehalfOf?.tenant ?? tenant,
            at: clock.now(),
            actor: 'system',
            action: 'egress.denied',
            target,
            outcome: 'denied',
            ...(onBehalfOf?.runId !== undefined && { runId: onBehalfOf.runId }),
            ...(onBehalfOf !== undefined && { connectionId: onBehalfOf.connectionId }),
            detail: { reason },
          },
        ]),
      )
    } catch (error) {
      onFault('record of a refused address', error)
    }
  }
}
