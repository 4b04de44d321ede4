/**
 * A twin of QuickBooks Online: OAuth, customers, payments, invoices and queries of the Accounting API v3, webhooks in
 * both of Intuit's formats.
 *
 * It answers what the documentation and the community's client say (see README.md). It is no kinder than QuickBooks:
 * a stale `SyncToken` and a name that is taken are refused, memos cannot be queried, errors are remembered with their
 * `requestid`, and a webhook that is not accepted holds back those after it.
 */
import {
  createKeyStore,
  createOAuthServer,
  createRollingLimit,
  createTwin,
  seededRandom,
  systemClock,
  type Clock,
  type OAuthGrant,
  type OAuthServer,
  type Twin,
  type TwinAnswer,
} from 'trestle/testing'
import { createBooks, faultAnswer, type QuickbooksState } from './twinBooks.ts'
import { createHappenings, type Happenings } from './twinHappenings.ts'
import { companyRoutes } from './twinRoutes.ts'
import { createChangeTeller, type WebhookFormat } from './twinWebhooks.ts'

export type { Entity, QuickbooksState } from './twinBooks.ts'
export type { WebhookFormat } from './twinWebhooks.ts'

export interface QuickbooksTwinOptions {
  /** Default `quickbooks-client` and `quickbooks-client-secret`. */
  readonly client?: { readonly id: string; readonly secret: string }
  /** The company. Default `9130347957983546`. */
  readonly realmId?: string
  /** The company's home currency. Default `USD`. */
  readonly currency?: string
  /** Webhooks are signed with it. Default `quickbooks-verifier-token`. */
  readonly verifierToken?: string
  /** Lifetime of access tokens. Default an hour. */
  readonly accessTokenMs?: number
  /** How long a `requestid` is remembered. Intuit does not say; default 24 hours. */
  readonly requestIdMs?: number
  /** Where webhooks go; see also {@link QuickbooksTwinMethods.subscribe}. */
  readonly webhookUrl?: string
  /** Default `cloudevents`. */
  readonly webhookFormat?: WebhookFormat
  /** Waits before further attempts of a webhook. Default: Intuit's. */
  readonly retryAfterMs?: readonly number[]
  /** Answers 429 beyond this many requests in a minute. Default: no limit. */
  readonly requestsPerMinute?: number
  readonly seed?: string
  readonly clock?: Clock
  readonly witnessFile?: string
}

/** What the twin can do besides answering; what happens in QuickBooks itself stands in twinHappenings.ts. */
export interface QuickbooksTwinMethods extends Happenings {
  readonly oauth: OAuthServer
  readonly realmId: string
  /** A company connects the app: a grant whose tokens a connection may hold. */
  connectApp(): OAuthGrant
  /** The token endpoint, for the connection's `tokenUrl`: at Intuit it is on another host than the API. */
  tokenUrl(): string
  /** Sends webhooks here from now on; `undefined` sends none. */
  subscribe(url: string | undefined): void
  useFormat(format: WebhookFormat): void
  /** Everything that happens meanwhile is sent in one delivery. */
  together(happenings: () => Promise<unknown>): Promise<void>
  /** Forgets every `requestid`, as Intuit may at a time that it does not name. */
  forgetRequestIds(): void
}

export type QuickbooksTwin = Twin<QuickbooksState> & QuickbooksTwinMethods

const SECOND_MS = 1000
const MINUTE_MS = 60 * SECOND_MS
const HOUR_MS = 60 * MINUTE_MS
/** https://developer.intuit.com/app/developer/qbo/docs/develop/webhooks/best-practices, read 2026-11-22. */
const RETRIES_MS = [
  10 * SECOND_MS,
  20 * SECOND_MS,
  30 * SECOND_MS,
  5 * MINUTE_MS,
  20 * MINUTE_MS,
  2 * HOUR_MS,
  4 * HOUR_MS,
  6 * HOUR_MS,
]
const TOKEN_PATH = '/oauth2/v1/tokens/bearer'
const REVOKE_PATH = '/v2/oauth2/tokens/revoke'
const AUTHORIZE_PATH = '/connect/oauth2'
/** What is asked without an access token. */
const OPEN_PATHS = [TOKEN_PATH, REVOKE_PATH, AUTHORIZE_PATH]

/** Makes a twin of QuickBooks Online. It does nothing before `start`. */
export function createQuickbooksTwin(options: QuickbooksTwinOptions = {}): QuickbooksTwin {
  const clock = options.clock ?? systemClock
  const seed = options.seed ?? 'quickbooks'
  const realmId = options.realmId ?? '9130347957983546'
  const state: QuickbooksState = {
    entities: { Customer: new Map(), Payment: new Map(), Invoice: new Map() },
    nextId: 1,
    nextDocNumber: 1001,
  }
  const books = createBooks({ clock, state, currency: options.currency ?? 'USD' })
  const keys = createKeyStore({
    clock,
    lifetimeMs: options.requestIdMs ?? 24 * HOUR_MS,
    onMismatch: duplicateRequestId,
    onInFlight: duplicateRequestId,
  })
  const oauth = createOAuthServer({
    clock,
    random: seededRandom(`${seed} tokens`),
    client: options.client ?? { id: 'quickbooks-client', secret: 'quickbooks-client-secret' },
    accessTokenMs: options.accessTokenMs ?? HOUR_MS,
    refresh: 'rotate',
    extra: ({ refreshExpiresAt }) => ({
      x_refresh_token_expires_in: Math.floor((refreshExpiresAt - clock.now()) / SECOND_MS),
    }),
  })
  const teller = createChangeTeller({
    clock,
    random: seededRandom(`${seed} events`),
    realmId,
    verifierToken: options.verifierToken ?? 'quickbooks-verifier-token',
    url: options.webhookUrl,
    format: options.webhookFormat ?? 'cloudevents',
    send: (webhook) => core.webhooks.send(webhook),
  })
  const happenings = createHappenings(books, teller)
  const isOverLimit = createRollingLimit(options.requestsPerMinute, MINUTE_MS)

  const core = createTwin<QuickbooksState>({
    name: 'quickbooks',
    state,
    routes: [
      oauth.tokenRoute(TOKEN_PATH),
      oauth.revokeRoute(REVOKE_PATH),
      oauth.authorizeRoute(AUTHORIZE_PATH, () => ({ realmId })),
      ...companyRoutes({
        books,
        keys,
        company: companyInfo(realmId),
        told: (change) => void teller.tell([change]),
      }),
    ],
    authorize({ headers, now, path }) {
      if (OPEN_PATHS.includes(path)) return undefined
      const checked = oauth.check(headers)
      if ('refused' in checked) return gatewayFault(401, '3200', 'AuthenticationFailed', 'AUTHENTICATION')
      if (!path.startsWith(`/v3/company/${realmId}/`))
        return gatewayFault(403, '3100', 'ApplicationAuthorizationFailed', 'AUTHORIZATION')
      if (isOverLimit(now)) return gatewayFault(429, '3001', 'ThrottleExceeded', 'SERVICE')
      return undefined
    },
    errorBody: (status, message) =>
      faultAnswer(status, { code: String(status), message, detail: message, type: 'SystemFault' }).json,
    headers: ({ number }) => ({ intuit_tid: `1-twin-${number}` }),
    actions: {
      ...happenings,
      subscribe: ({ url }: { url?: string }) => teller.subscribe(url),
      useFormat: ({ format }: { format: WebhookFormat }) => teller.useFormat(format),
      forgetRequestIds: () => keys.forget(),
    },
    webhooks: { retryAfterMs: options.retryAfterMs ?? RETRIES_MS, timeoutMs: 3000, inOrder: true },
    seed,
    clock,
    witnessFile: options.witnessFile,
  })
  return Object.assign(core, {
    ...happenings,
    oauth,
    realmId,
    connectApp: () => oauth.grant('com.intuit.quickbooks.accounting'),
    tokenUrl: () => core.url + TOKEN_PATH,
    subscribe: (url: string | undefined) => teller.subscribe(url),
    useFormat: (format: WebhookFormat) => teller.useFormat(format),
    together: (acts: () => Promise<unknown>) => teller.together(acts),
    forgetRequestIds: () => keys.forget(),
  })
}

function companyInfo(realmId: string) {
  return {
    CompanyName: 'Salon Example',
    LegalName: 'Salon Example LLC',
    Country: 'US',
    domain: 'QBO',
    sparse: false,
    Id: realmId,
    SyncToken: '4',
  }
}

/** A fault in the form of Intuit's gateway, which stands before the API and writes names in lower case. */
function gatewayFault(status: number, code: string, message: string, type: string): TwinAnswer {
  return {
    status,
    json: {
      warnings: null,
      intuitObject: null,
      fault: {
        error: [
          {
            message: `message=${message}; errorCode=00${code}; statusCode=${status}`,
            detail: null,
            code,
            element: null,
          },
        ],
        type,
      },
      requestId: null,
      status: null,
    },
  }
}

function duplicateRequestId(key: string): TwinAnswer {
  return faultAnswer(400, {
    code: '600',
    message: 'Duplicate Request ID',
    detail: `The request ID ${key} was used before.`,
    type: 'ValidationFault',
  })
}
