import type { JsonValue, Mail } from '../base/index.ts'
import type { LostExchange, LostMeaning, RetryPolicy } from './retry.ts'
import type { Schema } from './schema.ts'

/** Non-secret settings of a connection, such as QuickBooks' `realmId`. */
export type Settings = Readonly<Record<string, string>>

/** What an operation wants sent, before authorization. */
export interface OperationRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  /** Below the connection's base URL, beginning with `/`. Encode what you put into it. */
  readonly path: string
  /** `undefined` values are left out; arrays repeat the name. */
  readonly query?: Readonly<Record<string, string | number | boolean | readonly string[] | undefined>>
  readonly headers?: Readonly<Record<string, string>>
  readonly body?:
    | { readonly json: unknown }
    /** `application/x-www-form-urlencoded`, in this order. */
    | { readonly form: readonly (readonly [string, string])[] }
    | { readonly text: string; readonly contentType: string }
}

/** What an operation may use to build its request. */
export interface RequestContext {
  readonly settings: Settings
  /** The same for every attempt of this step and generation. At most 64 characters of `[A-Za-z0-9_-]`. */
  readonly idempotencyKey: string
  /**
   * The same in every attempt, in milliseconds since 1970: when the first attempt of this step was begun; where that is
   * not committed (`key`, `natural`), when the step was asked for, which is a little earlier.
   */
  readonly begunAt: number
}

/** A provider's answer as classification and operations see it. */
export interface ProviderAnswer {
  readonly status: number
  /** Lower-case names; repeated headers are joined by `, `. */
  readonly headers: Readonly<Record<string, string>>
  /** The decoded JSON body; `undefined` where there is none or it is not JSON. */
  readonly json: JsonValue | undefined
  /** The body as text. */
  readonly text: string
}

/**
 * What a provider's answer means.
 * - `succeeded`: as asked; the answer goes to the guard.
 * - `retry`: not done, may pass (429, 503); `retryAt` in milliseconds since 1970 where the provider named a time.
 * - `failed`: not done, and the same again would fail again (400, 404, 422).
 * - `in_doubt`: it may or may not have been done (a 5xx of a write that the provider does not promise to have rolled back);
 *   `retryAt` as for `retry`.
 * - `unauthorized`: the credential was refused (401); refreshed once where that can help.
 */
export type Classification =
  | { readonly as: 'succeeded' }
  | { readonly as: 'retry'; readonly code: string; readonly reason: string; readonly retryAt?: number }
  | { readonly as: 'failed'; readonly code: string; readonly reason: string }
  | { readonly as: 'in_doubt'; readonly code: string; readonly reason: string; readonly retryAt?: number }
  | { readonly as: 'unauthorized'; readonly code: string; readonly reason: string }

/**
 * What happens when the same operation reaches the provider twice.
 * - `key`: the provider recognises a key and does it once. `place` says where the key goes; `lifetimeMs` how long
 *   the provider remembers it, measured from the committed begin of the first attempt; `replaysErrors`: a stored
 *   error (Stripe's 500) is answered again for the same key, so a retry after one needs a new generation.
 * - `natural`: repeating is harmless (reads, PUT, upserts, deletes).
 * - `lookup`: we can ask whether it was done. `settleAfterMs`: an earlier "not found" proves nothing, because the
 *   provider's search lags.
 * - `none`: the provider gives us no way to know; an attempt in doubt is held for a person.
 */
export type Idempotency<Input, Output> =
  | {
      readonly kind: 'key'
      readonly place: { readonly header: string } | { readonly query: string } | 'request'
      readonly lifetimeMs: number
      readonly replaysErrors: boolean
      /** What it acts as once the key may be forgotten. Default: `none`. */
      readonly afterLifetime?: LookupIdempotency<Input, Output>
    }
  | { readonly kind: 'natural' }
  | LookupIdempotency<Input, Output>
  | { readonly kind: 'none' }

export interface LookupIdempotency<Input, _Output = unknown> {
  readonly kind: 'lookup'
  readonly settleAfterMs: number
  /** The question. It must be a read. */
  readonly request: (input: Input, context: RequestContext) => OperationRequest
  /**
   * The answer, read: the raw output that the operation would have given (checked against `output` like any answer),
   * or `undefined` if it was not done. Throw if the answer cannot tell.
   */
  readonly found: (answer: ProviderAnswer, input: Input, context: RequestContext) => unknown
}

export type IdempotencyKind = Idempotency<unknown, unknown>['kind']

/** One typed API call that a connector offers. */
export interface OperationDefinition<Input, Output> {
  /** What it does, for people: `'create a payment'`. */
  readonly summary: string
  /** Reads change nothing at the provider; a replay does not count them as repeated effects. Default `'write'`. */
  readonly effect?: 'read' | 'write'
  readonly input: Schema<Input>
  /** The contract of the answer. What fails it is quarantined with its path. */
  readonly output: Schema<Output>
  readonly idempotency: Idempotency<Input, Output>
  readonly request: (input: Input, context: RequestContext) => OperationRequest
  /** Makes it an exchange of SMTP, in place of `request`: see `defineMailOperation`. */
  readonly mail?: (input: Input, context: RequestContext) => Mail | 'greeting'
  /** The raw output within the answer. Default: the JSON body. */
  readonly answer?: (answer: ProviderAnswer, input: Input) => unknown
  /** What an answer means where the connector's own `classify` is not right for this operation. */
  readonly classify?: (answer: ProviderAnswer, now: number) => Classification | undefined
  /** What it means that no whole answer came, where the connector's own `classifyLost` is not right for this operation. */
  readonly classifyLost?: (lost: LostExchange, now: number) => LostMeaning | undefined
  /** How its failed attempts are retried, where neither the step nor its flow says it. */
  readonly retry?: RetryPolicy
  /** A done call in business words for timelines: `'payment of $19.99 for Ada'`. Never put a secret in it. */
  readonly describe?: (input: Input, output: Output) => string
  /** Milliseconds for the whole exchange. Default 30,000. */
  readonly timeoutMs?: number
  /** Dotted paths in input and answer whose values never reach journal-independent records such as the ledger. */
  readonly secret?: readonly string[]
  /** Names of the connector's limits that a call counts against. Default: all. */
  readonly limits?: readonly string[]
}

export interface Operation<Input = unknown, Output = unknown> extends OperationDefinition<Input, Output> {
  readonly isOperation: true
}

// oxlint-disable-next-line typescript/no-explicit-any -- operations of any input and output, as in a tree of them
export type AnyOperation = Operation<any, any>

/** Declares one operation. Types of input and output come from the schemas. */
export function defineOperation<Input, Output>(
  definition: OperationDefinition<Input, Output>,
): Operation<Input, Output> {
  return { ...definition, isOperation: true }
}

/** Operations of a connector, grouped as the author calls them: `{ contacts: { upsert } }` is `contacts.upsert`. */
export interface OperationTree {
  readonly [name: string]: AnyOperation | OperationTree
}

export function isOperation(value: AnyOperation | OperationTree | undefined): value is AnyOperation {
  return value !== undefined && 'isOperation' in value && value.isOperation === true
}

/** All operations of a tree by their dotted names. */
export function operationsOf(tree: OperationTree, prefix = ''): Map<string, AnyOperation> {
  const found = new Map<string, AnyOperation>()
  for (const [name, value] of Object.entries(tree)) {
    if (isOperation(value)) found.set(prefix + name, value)
    else for (const [path, operation] of operationsOf(value, `${prefix}${name}.`)) found.set(path, operation)
  }
  return found
}
