import { newId, UsageError, type Clock } from '../../base/index.ts'
import type { CallConnection, CallOutcome, Calls } from '../../calls/index.ts'
import { baseUrlFor, type AnyConnector, type AnyOperation } from '../../define/index.ts'
import { callsOf } from '../../runtime/index.ts'
import type { Output } from '../output.ts'
import type { Session } from '../session.ts'

/** What a live service answered to reads. */
export interface Verified {
  readonly ok: boolean
  readonly connection: string
  readonly title: string
  readonly baseUrl: string
  /** Whether it is the address that the connector itself names. */
  readonly live: boolean
  readonly at: Date
  readonly reads: readonly VerifiedRead[]
}

export interface VerifiedRead {
  readonly operation: string
  readonly outcome: CallOutcome['as']
  readonly status: number | undefined
  readonly reason: string | undefined
}

/** Makes the connector's check and every read that takes no input, and holds the answers against their contracts. */
export async function verifyConnection(session: Session, name: string, output: Output): Promise<Verified> {
  const { installation, clock } = session
  const connection = await callConnection(session, name)
  const { connector } = connection
  const calls = callsOf(installation)
  const wanted = await readsOf(connector)
  const progress = output.progress(`Asking ${connector.title}`)
  const reads: VerifiedRead[] = []
  for (const read of wanted) {
    progress.to(reads.length, wanted.length)
    reads.push(readResult(read.operationName, await makeRead(read, connection, calls, clock)))
  }
  progress.end()
  return {
    ok: reads.every((read) => read.outcome === 'succeeded'),
    connection: name,
    title: connector.title,
    baseUrl: connection.baseUrl,
    live: connection.baseUrl === baseUrlFor(connector, connection.settings),
    at: new Date(clock.now()),
    reads,
  }
}

async function callConnection(
  { installation: { vault, connectorNamed }, tenant }: Session,
  name: string,
): Promise<CallConnection> {
  const found = await vault.loadConnection(tenant, name)
  const connector = connectorNamed(found.connector)
  if (connector) return { ...found, connector, allowPrivate: found.allowPrivateNetwork }
  throw new UsageError(
    'connector_missing',
    `The connector "${found.connector}" is not in the configuration. Add a connection of it to trestle.config.ts.`,
  )
}

interface Read {
  readonly operationName: string
  readonly operation: AnyOperation
  readonly input: unknown
}

/** The check, and the reads whose input may be empty. Reads that need an id have nothing to ask for. */
async function readsOf(connector: AnyConnector): Promise<readonly Read[]> {
  const reads: Read[] = []
  for (const [operationName, operation] of connector.operationsByName) {
    if (operationName === connector.check.operation)
      reads.unshift({ operationName, operation, input: connector.check.input })
    else if (operation.effect === 'read' && (await accepts(operation, {})))
      reads.push({ operationName, operation, input: {} })
  }
  return reads
}

async function accepts(operation: AnyOperation, input: unknown): Promise<boolean> {
  const checked = await operation.input['~standard'].validate(input)
  return checked.issues === undefined
}

function makeRead(read: Read, connection: CallConnection, calls: Calls, clock: Clock): Promise<CallOutcome> {
  return calls.call({
    ...read,
    tenant: connection.tenant,
    connection,
    idempotencyKey: newId('att'),
    begunAt: clock.now(),
    runId: '',
    stepName: 'verify',
    attempt: 1,
    kind: 'send',
  })
}

function readResult(operation: string, outcome: CallOutcome): VerifiedRead {
  const exchange = 'exchange' in outcome ? outcome.exchange : undefined
  const at = outcome.as === 'quarantined' ? `${outcome.path || 'the whole answer'}: ` : ''
  return {
    operation,
    outcome: outcome.as,
    status: exchange?.status,
    reason: 'reason' in outcome ? `${at}${outcome.reason}` : undefined,
  }
}
