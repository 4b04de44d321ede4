import { createHash } from 'node:crypto'
import { encodeJson, reasonOf, UsageError } from '../base/index.ts'
import {
  isOperation,
  type AnyConnector,
  type AnyOperation,
  type OperationTree,
  type StepOptions,
} from '../define/index.ts'
import { rejected, type Asking } from './asking.ts'
import type { CallStep } from './callStep.ts'
import { stepKey } from './playback.ts'
import { afterRestore } from './restored.ts'
import { afterCrash, mayHaveBeenDone, notTried, retryPolicy } from './retry.ts'
import type { PendingCall, Undo } from './run.ts'

/** Steps that are calls to a provider: every method of a client that a flow gets from `use()`. */

/** Gives the flow's code its clients: the connector's operations, each a durable step. */
export function createClients(
  asking: Asking,
): (connector: AnyConnector, connectionName: string | undefined) => unknown {
  const undos = new UndoCapture()
  return (connector, connectionName) => {
    const build = (tree: OperationTree, prefix: string): Record<string, unknown> => {
      const client: Record<string, unknown> = {}
      for (const [name, value] of Object.entries(tree)) {
        client[name] = isOperation(value)
          ? (input: unknown, options: StepOptions<unknown> = {}) =>
              askOperation(asking, undos, {
                connector,
                connectionName,
                operationName: prefix + name,
                operation: value,
                input,
                options,
              })
          : build(value, `${prefix}${name}.`)
      }
      return client
    }
    return build(connector.operations as OperationTree, '')
  }
}

/** What the flow's code called. */
interface Called {
  readonly connector: AnyConnector
  readonly connectionName: string | undefined
  readonly operationName: string
  readonly operation: AnyOperation
  readonly input: unknown
  readonly options: StepOptions<unknown>
}

function askOperation(
  asking: Asking,
  undos: UndoCapture,
  { connector, connectionName, operationName, operation, input, options }: Called,
): Promise<unknown> {
  const { run, flow, deps, playback } = asking
  if (
    undos.takes({
      connection: connectionName ?? '',
      connector: connector.name,
      operation: operationName,
      input,
    })
  )
    return new Promise(() => {})
  const name = options.as ?? `${connector.name}.${operationName}`
  if (options.validUntil !== undefined && Number.isNaN(new Date(options.validUntil).getTime()))
    return rejected(
      new UsageError(
        'valid_until_invalid',
        `The step "${name}" is valid until "${String(options.validUntil)}", which is no time. Pass a Date, or ISO 8601 text such as 2026-11-22T21:00:00Z.`,
      ),
    )
  let inputDigest: Buffer
  try {
    inputDigest = createHash('sha256')
      .update(encodeJson({ operation: `${connector.name}.${operationName}`, input }))
      .digest()
  } catch (error) {
    return rejected(error)
  }
  const replaying = asking.replaying()
  const askedAt = playback.last?.finishedAt ?? run.createdAt
  return asking.ask(name, { kind: 'operation', inputDigest }, async (ordinal) => {
    const connection = await deps.connectionFor(run.tenant, connector, connectionName)
    const step: CallStep = {
      kind: 'operation',
      name,
      ordinal,
      connection,
      operationName,
      operation,
      input,
      inputDigest,
      options,
      policy: retryPolicy(options.retry, flow.retry, operation.retry),
      askedAt,
      undoOf: options.undo && ((made) => undos.capture(options.undo!, made)),
    }
    const pending = startingPoint(asking, step, replaying)
    if (pending) await asking.advance(step, pending)
  })
}

/** Where a call step begins: as it was suspended, in doubt where an attempt may have left, else untried. */
function startingPoint(asking: Asking, step: CallStep, replaying: boolean): PendingCall | undefined {
  const { run, deps } = asking
  const now = deps.clock.now()
  const resumed = asking.resumed.get(stepKey(step.name, step.ordinal))
  const before = resumed?.kind === 'operation' ? resumed : notTried(step.name, step.ordinal, now)
  const last = run.lastAttempts.find(
    (attempt) => attempt.name === step.name && attempt.ordinal === step.ordinal,
  )
  // What is asked for after a live result cannot have been asked for before the crash.
  const claims = replaying ? run.claims : 1
  const { claimedAt } = run
  const crashed = afterCrash(before, step.operation, { last, claims, claimedAt, now })
  const start = afterRestore(crashed, step.operation, run, now)
  if (!asking.resolving()) return start
  // Before an undo only doubts are resolved; a call that can be undone may have been made, so it is learned.
  const known = resumed !== undefined || last !== undefined || step.undoOf !== undefined
  return known && (mayHaveBeenDone(start) || start.settled !== undefined) ? start : undefined
}

/** Learns what an undo would call, without calling it. */
class UndoCapture {
  #capturing: Extract<Undo, { operation: string }>[] | undefined

  /** While an undo is captured, a call is what it would do. */
  takes(call: Extract<Undo, { operation: string }>): boolean {
    this.#capturing?.push(call)
    return this.#capturing !== undefined
  }

  capture(undo: (made: unknown) => unknown, made: unknown): Undo {
    const captured: Extract<Undo, { operation: string }>[] = []
    this.#capturing = captured
    try {
      const result = undo(made)
      if (result instanceof Promise) result.catch(() => {})
    } catch (error) {
      return { impossible: `Its undo threw: ${reasonOf(error)}` }
    } finally {
      this.#capturing = undefined
    }
    return captured.length === 1
      ? captured[0]!
      : {
          impossible: `Its undo called ${captured.length} operations; it must call exactly one, before any await.`,
        }
  }
}
