import type { AnyConnector, LimitDefinition } from '../../define/index.ts'
import type { CallRequest } from '../request.ts'

/**
 * The limits that a call counts against, with the points that it costs. A look-up counts against all that apply to
 * reads: it is another call than the operation's own.
 */
export function limitsOf(
  call: Pick<CallRequest, 'connection' | 'kind' | 'operation' | 'operationName'>,
): { readonly limit: LimitDefinition; readonly points: number }[] {
  const { operation, operationName, kind } = call
  const all: AnyConnector['limits'] = call.connection.connector.limits
  const effect = kind === 'lookup' ? 'read' : (operation.effect ?? 'write')
  const named = kind === 'send' ? operation.limits : undefined
  return all
    .filter((limit) => limit.appliesTo === undefined || limit.appliesTo === effect)
    .filter((limit) => named === undefined || named.includes(limit.name))
    .map((limit) => ({ limit, points: kind === 'lookup' ? 1 : (limit.cost?.[operationName] ?? 1) }))
}
