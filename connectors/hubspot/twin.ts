/**
 * A twin of HubSpot CRM: OAuth, contacts, notes and deals of API v3, webhooks v3.
 *
 * It answers what the documentation and the official client say (see README.md). It is no kinder than HubSpot: its
 * search index lags, unknown properties are refused, a contact's address is unique, event ids are shared by the
 * changes of one moment, and a webhook refused with 400, 401, 403, 404 or 405 never comes again.
 */
import {
  createOAuthServer,
  createRollingLimit,
  createTwin,
  route,
  seededRandom,
  systemClock,
  type Clock,
  type OAuthGrant,
  type OAuthServer,
  type Twin,
  type TwinAnswer,
  type TwinRoute,
} from 'trestle/testing'
import { createHappenings, type Happenings } from './twinHappenings.ts'
import { createObjectStore, errorJson, refused, type HubspotState } from './twinObjects.ts'
import { crmRoutes } from './twinRoutes.ts'
import { createEventTeller, eventsOfChange } from './twinWebhooks.ts'

export type { HubspotState, StoredObject } from './twinObjects.ts'

export interface HubspotTwinOptions {
  /** The app. Webhooks are signed with its secret. Default `hubspot-client` and `hubspot-client-secret`. */
  readonly client?: { readonly id: string; readonly secret: string }
  /** The token of a private app, good for ever. Default `pat-twin`. */
  readonly privateAppToken?: string
  /** Lifetime of access tokens. Default 30 minutes. */
  readonly accessTokenMs?: number
  /** How long the search index lags. Default 10 s. */
  readonly lagMs?: number
  /** Where webhooks go; see also {@link HubspotTwinMethods.subscribe}. */
  readonly webhookUrl?: string
  /** Waits before further attempts of a webhook. Default: ten over 24 hours. */
  readonly retryAfterMs?: readonly number[]
  /** Custom properties of the portal, besides HubSpot's own. */
  readonly properties?: readonly string[]
  /** Answers 429 beyond this many requests in 10 s. Default: no limit. */
  readonly requestsPer10Seconds?: number
  readonly seed?: string
  readonly clock?: Clock
  readonly witnessFile?: string
}

/** What the twin can do besides answering; what happens in HubSpot itself stands in twinHappenings.ts. */
export interface HubspotTwinMethods extends Happenings {
  readonly oauth: OAuthServer
  /** An account installs the app: a grant whose tokens a connection may hold. */
  install(): OAuthGrant
  /** Sends webhooks here from now on; `undefined` sends none. */
  subscribe(url: string | undefined): void
  /** Everything that happens meanwhile is sent in one delivery (up to 100 events in each). */
  together(happenings: () => Promise<unknown>): Promise<void>
}

export type HubspotTwin = Twin<HubspotState> & HubspotTwinMethods

const MINUTE_MS = 60_000
/** "Up to 10 times, spread over the next 24 hours." */
const RETRIES_MS = [1, 5, 15, 30, 60, 120, 180, 240, 300, 420].map((minutes) => minutes * MINUTE_MS)
const NEVER_RETRIED = [400, 401, 403, 404, 405]
const TOKEN_PATH = '/oauth/v1/token'
const AUTHORIZE_PATH = '/oauth/authorize'
const REVOKE_PATH = '/oauth/2026-03/token/revoke'
/** What is asked without an access token. */
const OPEN_PATHS = [TOKEN_PATH, AUTHORIZE_PATH, REVOKE_PATH]

/** Makes a twin of HubSpot. It does nothing before `start`. */
export function createHubspotTwin(options: HubspotTwinOptions = {}): HubspotTwin {
  const clock = options.clock ?? systemClock
  const client = options.client ?? { id: 'hubspot-client', secret: 'hubspot-client-secret' }
  const state: HubspotState = {
    objects: { contacts: new Map(), notes: new Map(), deals: new Map() },
    associations: new Set(),
  }
  const store = createObjectStore({
    clock,
    lagMs: options.lagMs ?? 10_000,
    extraProperties: options.properties ?? [],
    state,
  })
  const oauth = createOAuthServer({
    clock,
    random: seededRandom(`${options.seed ?? 'hubspot'} tokens`),
    client,
    accessTokenMs: options.accessTokenMs ?? 30 * MINUTE_MS,
    refresh: 'keep',
  })
  const teller = createEventTeller({
    clock,
    secret: client.secret,
    url: options.webhookUrl,
    send: (webhook) => core.webhooks.send(webhook),
  })
  const happenings = createHappenings(state, store, teller)
  const isOverLimit = createRollingLimit(options.requestsPer10Seconds, 10_000)

  const core = createTwin<HubspotState>({
    name: 'hubspot',
    state,
    routes: [
      tokenRoute(oauth),
      oauth.authorizeRoute(AUTHORIZE_PATH),
      oauth.revokeRoute(REVOKE_PATH),
      ...crmRoutes(store, (changes) => void teller.tell('INTEGRATION', changes.flatMap(eventsOfChange))),
    ],
    authorize({ headers, now, path }) {
      if (OPEN_PATHS.includes(path)) return undefined
      if (headers['authorization'] !== `Bearer ${options.privateAppToken ?? 'pat-twin'}`) {
        const checked = oauth.check(headers)
        if ('refused' in checked) return unauthorized(checked.refused)
      }
      return isOverLimit(now) ? rateLimited() : undefined
    },
    errorBody: (status, message) => errorJson(status, categoryOf(status), message),
    headers: ({ number }) => ({ 'x-hubspot-correlation-id': `twin-${number}` }),
    actions: {
      ...happenings,
      subscribe: ({ url }: { url?: string }) => teller.subscribe(url),
    },
    webhooks: {
      retryAfterMs: options.retryAfterMs ?? RETRIES_MS,
      timeoutMs: 5000,
      finalStatuses: NEVER_RETRIED,
    },
    seed: options.seed,
    clock,
    witnessFile: options.witnessFile,
  })
  return Object.assign(core, {
    ...happenings,
    oauth,
    install: () => oauth.grant('oauth crm.objects.contacts.read crm.objects.contacts.write'),
    subscribe: (url: string | undefined) => teller.subscribe(url),
    together: (acts: () => Promise<unknown>) => teller.together(acts),
  })
}

/** The token endpoint, with HubSpot's own words beside those of RFC 6749. */
function tokenRoute(oauth: OAuthServer): TwinRoute<HubspotState> {
  const standard = oauth.tokenRoute<HubspotState>(TOKEN_PATH)
  return route('POST', TOKEN_PATH, async (request) => {
    const answer = await standard.answer(request)
    if (answer.status === 200) return answer
    const { error, error_description } = answer.json as { error: string; error_description: string }
    const status = error === 'invalid_grant' ? 'BAD_REFRESH_TOKEN' : 'BAD_CLIENT'
    return { ...answer, json: { status, message: error_description, error, error_description } }
  })
}

function unauthorized(refusal: 'missing' | 'unknown' | 'expired' | 'revoked'): TwinAnswer {
  if (refusal === 'expired')
    return refused(401, 'EXPIRED_AUTHENTICATION', 'The OAuth token used to make this call expired.')
  if (refusal === 'missing')
    return refused(
      401,
      'INVALID_AUTHENTICATION',
      'Authentication credentials not found. This API supports OAuth 2.0 authentication.',
    )
  return refused(401, 'INVALID_AUTHENTICATION', 'The OAuth token used to make this call is not valid.')
}

function rateLimited(): TwinAnswer {
  return {
    status: 429,
    json: {
      ...errorJson(429, 'RATE_LIMITS', 'You have reached your ten_secondly_rolling limit.'),
      errorType: 'RATE_LIMIT',
      policyName: 'TEN_SECONDLY_ROLLING',
    },
  }
}

function categoryOf(status: number): string {
  if (status === 429) return 'RATE_LIMITS'
  if (status === 404) return 'OBJECT_NOT_FOUND'
  return status >= 500 ? 'INTERNAL_ERROR' : 'VALIDATION_ERROR'
}
