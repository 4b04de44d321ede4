import { newId, SECOND } from '../base/index.ts'
import type { Budgets, CallConnection, CallOutcome, OutageBoard } from '../calls/index.ts'
import type { CheckResult, DueCheck } from '../vault/index.ts'
import { callsTrying, connectionById } from './calls.ts'
import { TENANT, type Installation } from './installation.ts'

/** How often a node looks for checks that are due. */
const LOOK_EVERY_MS = 5 * SECOND
/** Checks of one look, and how many are made at a time: whatever has gathered is spread over minutes. */
const CHECKS_PER_LOOK = 20
const CHECKS_AT_ONCE = 5

export interface ConnectionChecksOptions {
  readonly board: OutageBoard
  readonly budgets: Budgets
  readonly inHold: () => boolean
  readonly onFault: (what: string, error: unknown) => void
}

/**
 * Makes the connector's check over each connection that nobody has called over for long, and over each whose credential
 * was refused, until stopped. Of all nodes one makes each. In a hold nothing leaves, so nothing is checked.
 */
export function startConnectionChecks(
  installation: Installation,
  { board, budgets, inHold, onFault }: ConnectionChecksOptions,
): () => Promise<void> {
  const { vault, clock, random } = installation
  const checker = newId('nod')
  const test = callsTrying(installation, undefined, { board, budgets }).testConnection
  let stopped = false
  const isStopped = (): boolean => stopped
  let under: Promise<void> = Promise.resolve()
  let cancel: () => void = () => {}

  async function look(): Promise<void> {
    if (inHold()) return
    const due = [...(await vault.claimChecks(TENANT, { checker, most: CHECKS_PER_LOOK }))]
    const work = async (): Promise<void> => {
      for (let one = due.shift(); one !== undefined && !isStopped(); one = due.shift())
        await check(one).catch((error: unknown) => onFault('check a connection', error))
    }
    await Promise.all(Array.from({ length: CHECKS_AT_ONCE }, work))
    await vault.dropFormers(TENANT)
  }

  async function check(due: DueCheck): Promise<void> {
    const connection = await connectionById(installation, due.tenant, due.id)
    await vault.settleCheck(due, checker, await resultOf(connection))
  }

  async function resultOf(connection: CallConnection | undefined): Promise<CheckResult> {
    if (connection === undefined)
      return unknown('connector_missing', 'Its connector is not in the configuration.')
    if (!hasCheapRead(connection.connector))
      return unknown('no_check', 'Its connector has no cheap read to check it with.')
    return checkResultOf(await test(connection))
  }

  function schedule(): void {
    if (stopped) return
    // Scattered, so that nodes that were started together do not look together.
    cancel = clock.after(LOOK_EVERY_MS * (0.5 + random.next() / 2), () => {
      under = look()
        .catch((error: unknown) => onFault('look for connections to check', error))
        .finally(schedule)
    })
  }
  schedule()
  return () => {
    stopped = true
    cancel()
    return under
  }
}

/** Whether the connector's check is a read: one that writes is for people who ask for it. */
export function hasCheapRead({ check, operationsByName }: CallConnection['connector']): boolean {
  const operation = operationsByName.get(check.operation)
  return operation?.idempotency.kind === 'natural' && operation.effect !== 'write'
}

function unknown(code: string, reason: string): CheckResult {
  return { credential: 'unknown', outcome: 'not_made', code, reason }
}

/** What a check says of the credential: only an answer says something. */
export function checkResultOf(outcome: CallOutcome): CheckResult {
  const status = 'exchange' in outcome ? outcome.exchange?.status : undefined
  const result = {
    outcome: outcome.as,
    code: 'code' in outcome ? outcome.code : undefined,
    reason: 'reason' in outcome ? outcome.reason : undefined,
    url: 'exchange' in outcome ? outcome.exchange?.request.url : undefined,
  }
  if (outcome.as === 'succeeded' || outcome.as === 'quarantined') return { ...result, credential: 'accepted' }
  // By what the answer means: a mail server says 535 where others say 401.
  if (outcome.as === 'parked' && status !== undefined && outcome.credential?.as === 'refused')
    return { ...result, credential: 'refused' }
  // Not liked, yet read by somebody who knew us. 403 may be either.
  const wasKnown = status !== undefined && status >= 400 && status < 500 && status !== 401 && status !== 403
  return {
    ...result,
    credential: wasKnown && outcome.as === 'failed' && status !== 429 ? 'accepted' : 'unknown',
  }
}
