import { UsageError } from '../base/index.ts'
import { releaseByHand } from '../calls/index.ts'
import { byHand, type Isolated, type Isolation } from './isolateConnection.ts'
import type { ActionContext } from './operator.ts'

/** Lets go what was held back by hand. Throws `state_conflict` where nothing was: an outage ends by itself. */
export async function releaseConnection(
  name: string,
  isolation: Isolation,
  context: ActionContext,
): Promise<Isolated> {
  const { client, clock, writeEntries } = context
  const released = await releaseByHand(client, await byHand(name, isolation, context), {
    writeEntries,
    now: clock.now(),
  })
  if (released === undefined)
    throw new UsageError(
      'state_conflict',
      `The connection "${name}"${isolation.group === undefined ? '' : ` (${isolation.group})`} is not held back by hand, so there is nothing to release. An outage ends by itself when a probe finds the provider there: see trestle outages.`,
    )
  return released
}
