import { newId, UsageError, type Clock } from '../base/index.ts'
import { BREAKER_POLICY, type BreakerPolicy } from '../resilience/index.ts'
import { Breakers } from './breakers.ts'
import { DEFAULT_TIMEOUT_MS, makeCall, type CallParts } from './call.ts'
import { Budgets, createMemoryAuthority } from './budgets/index.ts'
import type { CallOutcome } from './outcome.ts'
import { Redactors, type SecretValuesOf } from './redaction.ts'
import type { OutageBoard } from './outages/index.ts'
import type { CallConnection, CallRequest } from './request.ts'

export interface CallsOptions extends Omit<CallParts, 'breakers' | 'budgets' | 'redactors'> {
  readonly secretValuesOf: SecretValuesOf
  readonly breakerPolicy?: Partial<BreakerPolicy>
  /** The breakers that all nodes share. Without it nothing is held back for its provider's health. */
  readonly board?: OutageBoard
  /** The budgets that all nodes share. Default: this process's own. */
  readonly budgets?: Budgets
  /** Connections whose health and budgets are kept in memory. Default 10,000. */
  readonly maxConnections?: number
}

/** Connections whose state is in memory. Of the rest the longest unused is forgotten: its counts begin anew. */
const MOST_CONNECTIONS = 10_000

/** Outbound calls of one process. */
export interface Calls {
  /** Makes one attempt. Throws only what `begin` throws, and faults of ours such as a database that is gone. */
  readonly call: (request: CallRequest) => Promise<CallOutcome>
  /** Makes the connector's check, a cheap read, over this connection. */
  readonly testConnection: (connection: CallConnection) => Promise<CallOutcome>
  /** The same whatever the connection's breaker says, to find out whether the provider is back. */
  readonly probe: (
    connection: CallConnection,
  ) => Promise<{ readonly outcome: CallOutcome; readonly slow: boolean }>
}

export function createCalls(options: CallsOptions): Calls {
  const policy = { ...BREAKER_POLICY, ...options.breakerPolicy }
  const most = options.maxConnections ?? MOST_CONNECTIONS
  const breakers = new Breakers(options.clock, policy, most, options.board)
  const budgets = options.budgets ?? ownBudgets(options.clock, most)
  const redactors = new Redactors(options.secretValuesOf)
  const parts: CallParts = { ...options, breakers, budgets, redactors }
  const call = (request: CallRequest): Promise<CallOutcome> => makeCall(request, parts)
  return {
    call,
    testConnection: async (connection) => call(checkOf(connection, options.clock.now())),
    async probe(connection) {
      const check = { ...checkOf(connection, options.clock.now()), probe: true }
      const outcome = await call(check)
      const ms = 'exchange' in outcome ? (outcome.exchange?.ms ?? 0) : 0
      return { outcome, slow: breakers.isSlow(check, ms, check.operation.timeoutMs ?? DEFAULT_TIMEOUT_MS) }
    },
  }
}

function ownBudgets(clock: Clock, maxConnections: number): Budgets {
  return new Budgets({ clock, authority: createMemoryAuthority(clock, maxConnections), maxConnections })
}

/** The connector's check as a call of no run. */
function checkOf(connection: CallConnection, now: number): CallRequest {
  const { check, operationsByName, title } = connection.connector
  const operation = operationsByName.get(check.operation)
  if (operation?.idempotency.kind !== 'natural')
    throw new UsageError(
      'connector_invalid',
      `The check of ${title} must be an operation that may be repeated (idempotency "natural"), but names "${check.operation}".`,
    )
  return {
    tenant: connection.tenant,
    connection,
    operationName: check.operation,
    operation,
    input: check.input,
    idempotencyKey: newId('att'),
    begunAt: now,
    runId: '',
    stepName: 'check',
    attempt: 1,
    kind: 'send',
  }
}
