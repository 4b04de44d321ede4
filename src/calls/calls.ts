import { newId, UsageError } from '../base/index.ts'
import type { BreakerState } from '../define/index.ts'
import { BREAKER_POLICY, type BreakerPolicy } from '../resilience/index.ts'
import { Breakers } from './breakers.ts'
import { makeCall, type CallParts } from './call.ts'
import { ConnectionStates, MOST_CONNECTIONS } from './connectionStates.ts'
import type { CallOutcome } from './outcome.ts'
import { Redactors, type SecretValuesOf } from './redaction.ts'
import type { CallConnection, CallRequest } from './request.ts'

export interface CallsOptions extends Omit<CallParts, 'breakers' | 'states' | 'redactors'> {
  readonly secretValuesOf: SecretValuesOf
  readonly breakerPolicy?: Partial<BreakerPolicy>
  /** Connections whose breaker and budgets are kept in memory. Default 10,000. */
  readonly maxConnections?: number
}

type ConnectionKey = Pick<CallConnection, 'tenant' | 'id'>

/** Outbound calls of one process. */
export interface Calls {
  /** Makes one attempt. Throws only what `begin` throws, and faults of ours such as a database that is gone. */
  readonly call: (request: CallRequest) => Promise<CallOutcome>
  /** Makes the connector's check, a cheap read, over this connection. */
  readonly testConnection: (connection: CallConnection) => Promise<CallOutcome>
  /** The state of a connection's breaker on this node. */
  readonly breakerOf: (connection: ConnectionKey) => BreakerState
  /** Holds a connection's calls back on this node until {@link restore}. */
  readonly isolate: (connection: ConnectionKey) => void
  readonly restore: (connection: ConnectionKey) => void
}

export function createCalls(options: CallsOptions): Calls {
  const policy = { ...BREAKER_POLICY, ...options.breakerPolicy }
  const most = options.maxConnections ?? MOST_CONNECTIONS
  const breakers = new Breakers(options.clock, policy, most)
  const states = new ConnectionStates(options.clock, most)
  const redactors = new Redactors(options.secretValuesOf)
  const parts: CallParts = { ...options, breakers, states, redactors }
  const call = (request: CallRequest): Promise<CallOutcome> => makeCall(request, parts)
  return {
    call,
    testConnection: async (connection) => call(checkOf(connection, options.clock.now())),
    breakerOf: (connection) => breakers.stateOf(connection),
    isolate: (connection) => breakers.isolate(connection),
    restore: (connection) => breakers.restore(connection),
  }
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
