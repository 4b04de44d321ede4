/**
 * A twin of Xero: OAuth with refresh tokens that are good once, organisations, contacts, invoices and payments of the
 * Accounting API 2.0, webhooks and the intent to receive.
 *
 * It answers what the documentation and Xero's own client say (see README.md). It is no kinder than Xero: a name that
 * is taken is refused, keys are forgotten after six minutes and errors are remembered with them, an organisation that
 * is not connected is refused, and an old refresh token is dead at once.
 */
import {
  createKeyStore,
  createOAuthServer,
  createTwin,
  route,
  seededRandom,
  systemClock,
  uuidFrom,
  type Clock,
  type OAuthGrant,
  type OAuthServer,
  type Twin,
  type TwinAnswer,
} from 'trestle/testing'
import { createBooks, problem, type XeroState } from './twinBooks.ts'
import { createHappenings, type Happenings } from './twinHappenings.ts'
import { accountingRoutes, type ChangeNote } from './twinRoutes.ts'
import { createChangeTeller, type SendIntent } from './twinWebhooks.ts'

export type { Thing, XeroState } from './twinBooks.ts'

export interface XeroTwinOptions {
  /** Default `xero-client` and `xero-client-secret`. */
  readonly client?: { readonly id: string; readonly secret: string }
  /** The organisation. Default `c2cc9b6e-9458-4c7d-93cc-f02b81b0594f`. */
  readonly tenantId?: string
  /** The organisation's currency. Default `NZD`. */
  readonly currency?: string
  /** Webhooks are signed with it. Default `xero-webhook-key`. */
  readonly webhookKey?: string
  /** Lifetime of access tokens. Default 30 minutes. */
  readonly accessTokenMs?: number
  /** How long an `Idempotency-Key` is remembered. Default 6 minutes. */
  readonly keyMs?: number
  /** Where webhooks go; see also {@link XeroTwinMethods.subscribe}. */
  readonly webhookUrl?: string
  /** Waits before further attempts of a webhook. Default: 5 min, 30 min, 2 h, then less often, for a day. */
  readonly retryAfterMs?: readonly number[]
  /** Answers 429 beyond this many requests in a minute. Default 60. */
  readonly requestsPerMinute?: number
  readonly seed?: string
  readonly clock?: Clock
  readonly witnessFile?: string
}

/** What the twin can do besides answering; what happens in Xero itself stands in twinHappenings.ts. */
export interface XeroTwinMethods extends Happenings {
  readonly oauth: OAuthServer
  readonly tenantId: string
  /** Somebody connects the organisation: a grant whose tokens a connection may hold. */
  connectApp(): OAuthGrant
  /** The token endpoint, for the connection's `tokenUrl`: at Xero it is on another host than the API. */
  tokenUrl(): string
  /** Sends webhooks here from now on; `undefined` sends none. */
  subscribe(url: string | undefined): void
  /** What is wrong with the subscriber's answers to an intent to receive. */
  askForIntent(send: SendIntent): Promise<readonly string[]>
  /** Everything that happens meanwhile is sent in one delivery. */
  together(happenings: () => Promise<unknown>): Promise<void>
  /** Forgets every key, as Xero does after six minutes. */
  forgetKeys(): void
}

export type XeroTwin = Twin<XeroState> & XeroTwinMethods

const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS
const RETRIES_MS = [5 * MINUTE_MS, 30 * MINUTE_MS, 2 * HOUR_MS, 6 * HOUR_MS, 15 * HOUR_MS]
const TOKEN_PATH = '/connect/token'
const REVOKE_PATH = '/connect/revocation'
const AUTHORIZE_PATH = '/identity/connect/authorize'
/** What is asked without an access token. */
const OPEN_PATHS = [TOKEN_PATH, REVOKE_PATH, AUTHORIZE_PATH]
const TENANTS_PATH = '/connections'
const DAY_ALLOWED = 5000

/** Makes a twin of Xero. It does nothing before `start`. */
export function createXeroTwin(options: XeroTwinOptions = {}): XeroTwin {
  const clock = options.clock ?? systemClock
  const seed = options.seed ?? 'xero'
  const tenantId = options.tenantId ?? 'c2cc9b6e-9458-4c7d-93cc-f02b81b0594f'
  const currency = options.currency ?? 'NZD'
  const state: XeroState = {
    things: { Contact: new Map(), Invoice: new Map(), Payment: new Map() },
    nextInvoiceNumber: 1,
  }
  const books = createBooks({ clock, random: seededRandom(`${seed} books`), state, currency })
  const keys = createKeyStore({
    clock,
    lifetimeMs: options.keyMs ?? 6 * MINUTE_MS,
    onMismatch: () => keyRefused(400, 'The idempotency key was used with another request.'),
    onInFlight: () => keyRefused(409, 'A request with this idempotency key is under way.'),
  })
  const oauth = createOAuthServer({
    clock,
    random: seededRandom(`${seed} tokens`),
    client: options.client ?? { id: 'xero-client', secret: 'xero-client-secret' },
    accessTokenMs: options.accessTokenMs ?? 30 * MINUTE_MS,
    refreshTokenMs: 60 * 24 * HOUR_MS,
    refresh: 'single_use',
  })
  const teller = createChangeTeller({
    clock,
    random: seededRandom(`${seed} events`),
    tenantId,
    webhookKey: options.webhookKey ?? 'xero-webhook-key',
    url: options.webhookUrl,
    send: (webhook) => core.webhooks.send(webhook),
  })
  const happenings = createHappenings(books, teller)
  const window = createWindow(options.requestsPerMinute ?? 60, MINUTE_MS)
  const connectionId = uuidFrom(seededRandom(`${seed} connection`))

  const core = createTwin<XeroState>({
    name: 'xero',
    state,
    routes: [
      oauth.tokenRoute(TOKEN_PATH),
      oauth.revokeRoute(REVOKE_PATH),
      oauth.authorizeRoute(AUTHORIZE_PATH),
      route('GET', TENANTS_PATH, () => ({
        status: 200,
        json: [{ id: connectionId, tenantId, tenantType: 'ORGANISATION', tenantName: 'Salon Example' }],
      })),
      ...accountingRoutes({
        books,
        keys,
        organisation: organisationOf(tenantId, currency),
        told: (change) => void teller.tell(toldOf(change, books)),
      }),
    ],
    authorize({ headers, now, path }) {
      if (OPEN_PATHS.includes(path)) return undefined
      const checked = oauth.check(headers)
      if ('refused' in checked)
        return problem(
          401,
          'Unauthorized',
          checked.refused === 'expired' ? 'TokenExpired: token expired' : 'AuthenticationUnsuccessful',
        )
      if (path === TENANTS_PATH) return undefined
      if (headers['xero-tenant-id'] !== tenantId)
        return problem(403, 'Forbidden', 'AuthenticationUnsuccessful')
      return window.isOver(now) ? tooMany(window.secondsLeft(now)) : undefined
    },
    errorBody: (status, message) => ({ ErrorNumber: status, Type: 'TwinException', Message: message }),
    headers: ({ number }) => ({
      'xero-correlation-id': `twin-${number}`,
      'x-minlimit-remaining': String(window.left(clock.now())),
      'x-daylimit-remaining': String(Math.max(0, DAY_ALLOWED - number)),
    }),
    actions: {
      ...happenings,
      subscribe: ({ url }: { url?: string }) => teller.subscribe(url),
      forgetKeys: () => keys.forget(),
    },
    webhooks: { retryAfterMs: options.retryAfterMs ?? RETRIES_MS, timeoutMs: 5000 },
    seed,
    clock,
    witnessFile: options.witnessFile,
  })
  return Object.assign(core, {
    ...happenings,
    oauth,
    tenantId,
    connectApp: () =>
      oauth.grant('offline_access accounting.contacts accounting.invoices accounting.payments'),
    tokenUrl: () => core.url + TOKEN_PATH,
    subscribe: (url: string | undefined) => teller.subscribe(url),
    askForIntent: (send: SendIntent) => teller.askForIntent(send),
    together: (acts: () => Promise<unknown>) => teller.together(acts),
    forgetKeys: () => keys.forget(),
  })
}

function organisationOf(tenantId: string, currency: string) {
  return {
    OrganisationID: tenantId,
    Name: 'Salon Example',
    LegalName: 'Salon Example Limited',
    OrganisationStatus: 'ACTIVE',
    BaseCurrency: currency,
    CountryCode: 'NZ',
    Timezone: 'NEWZEALANDSTANDARDTIME',
  }
}

/** A payment changes its invoice, and that is what webhooks tell of. */
function toldOf(change: ChangeNote, books: { find: (kind: 'Payment', id: string) => unknown }): ChangeNote[] {
  if (change.kind !== 'Payment') return [change]
  const { Invoice } = books.find('Payment', change.id) as { Invoice: { InvoiceID: string } }
  return [{ kind: 'Invoice', id: Invoice.InvoiceID, operation: 'UPDATE' }]
}

function keyRefused(status: number, message: string): TwinAnswer {
  return { status, json: { ErrorNumber: status, Type: 'IdempotencyException', Message: message } }
}

function tooMany(seconds: number): TwinAnswer {
  return { status: 429, headers: { 'retry-after': String(seconds), 'x-rate-limit-problem': 'minute' } }
}

/** Requests in a fixed window, which begins with the first one. */
function createWindow(allowed: number, windowMs: number) {
  let beganAt = Number.NEGATIVE_INFINITY
  let count = 0
  const roll = (now: number): void => {
    if (now - beganAt < windowMs) return
    beganAt = now
    count = 0
  }
  return {
    /** Counts a request, and says whether it is one too many. */
    isOver(now: number): boolean {
      roll(now)
      if (count >= allowed) return true
      count++
      return false
    },
    left(now: number): number {
      roll(now)
      return Math.max(0, allowed - count)
    },
    secondsLeft: (now: number) => Math.max(1, Math.ceil((beganAt + windowMs - now) / 1000)),
  }
}
