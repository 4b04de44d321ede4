import { Redactor } from '../ledger/index.ts'
import type { EgressResult } from '../egress/index.ts'
import type { AuthorizedRequest } from '../vault/index.ts'
import type { CallOutcome, Exchange } from './outcome.ts'
import type { CallConnection, CallRequest } from './request.ts'

/** All values of a connection that must not be seen anywhere: the vault's `secretValuesOf`. */
export type SecretValuesOf = (connection: CallConnection) => Promise<readonly string[]>

/** Redactors in memory at once. Each knows one credential of one connection and the marks of one operation. */
export const MOST_REDACTORS = 1000

/** Redactors by connection, operation and credential: made once, since what they are made of is read from the vault. */
export class Redactors {
  readonly #secretValuesOf: SecretValuesOf
  readonly #known = new Map<string, Redactor>()

  constructor(secretValuesOf: SecretValuesOf) {
    this.#secretValuesOf = secretValuesOf
  }

  /** The one for this request. Asked for before anything leaves, so that a fault here costs nothing. */
  async of(call: CallRequest, authorized: AuthorizedRequest): Promise<Redactor> {
    const { connection } = call
    const key = [connection.tenant, connection.id, authorized.credentialVersion, call.operationName].join('|')
    const known = this.#known.get(key)
    if (known !== undefined) return known
    const carried = authorized.secretHeaders.flatMap((name) => credentialsIn(authorized.headers[name]))
    const redactor = new Redactor({
      secretPaths: call.operation.secret ?? [],
      secretHeaders: authorized.secretHeaders,
      secretValues: [...(await this.#secretValuesOf(connection)), ...carried],
    })
    if (this.#known.size >= MOST_REDACTORS) this.#known.delete(this.#known.keys().next().value!)
    this.#known.set(key, redactor)
    return redactor
  }
}

/** A header's value, and what stands behind its scheme: an answer may give back either. */
function credentialsIn(value: string | undefined): string[] {
  if (value === undefined) return []
  const space = value.indexOf(' ')
  return space < 0 ? [value] : [value, value.slice(space + 1)]
}

/** An exchange as the ledger may have it. What was done is not lost because its record could not be made. */
export function exchangeOf(
  redactor: Redactor,
  authorized: AuthorizedRequest,
  result: EgressResult,
  ms: number,
): Exchange {
  const { method, url, headers, body } = authorized
  const status = result.as === 'not_sent' ? undefined : result.status
  const known = { ...(status === undefined ? {} : { status }), ms }
  try {
    const redacted = redactor.exchange({
      request: { method, url, headers, ...(body === undefined ? {} : { body }) },
      ...(result.as === 'answered'
        ? { answer: { status: result.status, headers: result.headers, body: result.body } }
        : { error: `${result.code}: ${result.reason}` }),
    })
    return { ...redacted, ...known }
  } catch (error) {
    const why = `The exchange could not be redacted, so it is not kept (${(error as Error).name}).`
    return { request: { method, url: '', headers: {} }, error: why, ...known }
  }
}

/** The outcome with what a provider wrote into its reason redacted: providers repeat what they were sent. */
export function withRedactedReason<
  Outcome extends CallOutcome | { readonly as: 'unauthorized'; readonly reason: string },
>(outcome: Outcome, redactor: Redactor): Outcome {
  return 'reason' in outcome ? { ...outcome, reason: redactor.text(outcome.reason) } : outcome
}
