import { NotFoundError, UsageError } from '../base/index.ts'
import { groupsOf, isolateByHand, WHOLE, type ByHand } from '../calls/index.ts'
import type { ActionContext } from './operator.ts'

/** What of a connection is meant, and a person's word on it. */
export interface Isolation {
  /** A group of its operations, such as `invoices` for `invoices.create`. Default: the whole connection. */
  readonly group?: string | undefined
  readonly reason?: string | undefined
}

export interface Isolated {
  readonly outageId: string
}

/** Nothing goes out over it any more, on no node; its runs park. Doing it twice is doing it once. */
export async function isolateConnection(
  name: string,
  isolation: Isolation,
  context: ActionContext,
): Promise<Isolated> {
  const { client, clock, writeEntries } = context
  const { outageId } = await isolateByHand(client, await byHand(name, isolation, context), {
    writeEntries,
    now: clock.now(),
  })
  return { outageId }
}

/** The breaker that is meant. Throws {@link NotFoundError} and {@link UsageError} where there is none. */
export async function byHand(name: string, isolation: Isolation, context: ActionContext): Promise<ByHand> {
  const { client, tenant, actor, connectorNamed } = context
  const { rows } = await client.query<{ id: string; connector: string }>(
    'select id, connector from connections where tenant = $1 and name = $2',
    [tenant, name],
  )
  const found = rows[0]
  if (!found) throw new NotFoundError('connection', name, 'List them with: trestle connections')
  const { group = WHOLE, reason } = isolation
  const connector = connectorNamed(found.connector)
  const groups = connector === undefined ? [] : groupsOf(connector)
  // All operations of a connector with a single group are the whole connection.
  const meant = groups.length === 1 && group === groups[0] ? WHOLE : group
  if (meant !== WHOLE && !groups.includes(meant))
    throw new UsageError(
      'group_unknown',
      `The connection "${name}" has no operations "${meant}.…". Its groups are: ${groups.join(', ')}.`,
    )
  return { tenant, connectionId: found.id, group: meant, connector: found.connector, actor, reason }
}
