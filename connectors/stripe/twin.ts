/**
 * A twin of Stripe: the part of API v1 that the connector uses, with what a payment provider does by itself.
 *
 * As the real one: idempotency keys for POST with 24 hours of memory, stored errors and replays; lists newest first
 * with `starting_after`; a search that lags; errors in Stripe's form; webhooks signed with `t=…,v1=…`, several
 * endpoints, each with the event types that it wants. Not there: expansion (`expand` is ignored), Connect, API v2.
 */
import {
  createKeyStore,
  createTwin,
  systemClock,
  type Clock,
  type SendingPolicy,
  type SourceDelivery,
  type Twin,
} from 'trestle/testing'
import { HOUR } from 'trestle'
import { STRIPE_VERSION } from './index.ts'
import { openAccount, emptyState, type Account, type StripeState } from './twin/state.ts'
import { stripeRoutes } from './twin/routes.ts'
import { stripeError } from './twin/requests.ts'
import { createEventSender, type WebhookEndpoint } from './twin/events.ts'
import { createHappenings, type StripeHappenings } from './twin/happenings.ts'

export interface StripeTwinOptions {
  readonly clock?: Clock
  readonly seed?: string
  /** The key that requests must carry. Default `'sk_test_twin'`. */
  readonly apiKey?: string
  /** Where webhooks go; more with `addEndpoint`. */
  readonly endpoints?: readonly WebhookEndpoint[]
  readonly witnessFile?: string
  readonly webhooks?: SendingPolicy
  /** How far the search index is behind. Default one minute, Stripe's "under normal operating conditions". */
  readonly searchLagMs?: number
}

/** A twin of Stripe and what can be made to happen there. */
export interface StripeTwin extends Twin<StripeState>, StripeHappenings {
  readonly apiKey: string
  /** Registers a webhook endpoint. */
  addEndpoint(endpoint: WebhookEndpoint): void
  /** Forgets all idempotency keys, as Stripe may once they are 24 hours old. */
  forgetKeys(): void
  /** Resolves when every webhook was delivered or given up. Gives the source ledger. */
  settled(): Promise<readonly SourceDelivery[]>
}

const KEY_LIFETIME_MS = 24 * HOUR

export function createStripeTwin(options: StripeTwinOptions = {}): StripeTwin {
  const clock = options.clock ?? systemClock
  const apiKey = options.apiKey ?? 'sk_test_twin'
  const endpoints: WebhookEndpoint[] = [...(options.endpoints ?? [])]
  const keys = createKeyStore({
    clock,
    lifetimeMs: KEY_LIFETIME_MS,
    replayHeaders: { 'idempotent-replayed': 'true' },
    onMismatch: (key) => ({
      status: 400,
      json: stripeError(
        400,
        `Keys for idempotent requests can only be used with the same parameters they were first used with. Try using a key other than '${key}' if you meant to execute a different request.`,
        { type: 'idempotency_error' },
      ),
    }),
    onInFlight: () => ({
      status: 409,
      json: stripeError(409, 'There is currently another in-progress request using this Idempotent Key.', {
        type: 'idempotency_error',
        code: 'idempotency_key_in_use',
      }),
    }),
  })
  let account: Account | undefined
  const opened = (): Account => account!
  const happenings = createHappenings(opened)
  const twin = createTwin<StripeState>({
    name: 'stripe',
    state: emptyState(),
    clock,
    seed: options.seed ?? 'stripe',
    routes: stripeRoutes(opened, keys),
    authorize: ({ headers }) => {
      const given = keyIn(headers['authorization'] ?? '')
      if (given === apiKey) return undefined
      const message =
        given === undefined
          ? 'You did not provide an API key.'
          : `Invalid API Key provided: ${given.slice(0, 8)}****`
      return { status: 401, json: stripeError(401, message) }
    },
    errorBody: stripeError,
    headers: ({ number }) => ({ 'request-id': `req_${number}`, 'stripe-version': STRIPE_VERSION }),
    actions: actionsOf(happenings, (endpoint) => endpoints.push(endpoint)),
    webhooks: options.webhooks,
    witnessFile: options.witnessFile,
  })
  account = openAccount({
    state: twin.state,
    clock,
    newId: (prefix) => twin.newId(prefix, prefix === 'cus_' ? 14 : 24),
    emit: createEventSender(twin, endpoints, STRIPE_VERSION),
    searchLagMs: options.searchLagMs ?? 60_000,
  })
  return Object.defineProperties(twin, {
    ...Object.getOwnPropertyDescriptors(happenings),
    apiKey: { value: apiKey, enumerable: true },
    addEndpoint: { value: (endpoint: WebhookEndpoint) => void endpoints.push(endpoint), enumerable: true },
    forgetKeys: { value: () => keys.forget(), enumerable: true },
    settled: {
      value: async () => {
        await twin.webhooks.idle()
        return twin.deliveries()
      },
      enumerable: true,
    },
  }) as StripeTwin
}

/** The key in a bearer or basic authorization. */
function keyIn(authorization: string): string | undefined {
  const bearer = /^bearer (.+)$/i.exec(authorization)
  if (bearer) return bearer[1]
  const basic = /^basic (.+)$/i.exec(authorization)
  return basic ? Buffer.from(basic[1]!, 'base64').toString('utf8').split(':')[0] : undefined
}

/** The happenings by name, for other processes, and `add-endpoint`. */
function actionsOf(
  happenings: StripeHappenings,
  addEndpoint: (endpoint: WebhookEndpoint) => void,
): Record<string, (input: never) => unknown> {
  return { ...happenings, addEndpoint }
}

export type { StripeState } from './twin/state.ts'
export type { WebhookEndpoint } from './twin/events.ts'
export type { StripeHappenings } from './twin/happenings.ts'
