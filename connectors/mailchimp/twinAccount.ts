import { createHash } from 'node:crypto'
import {
  createOAuthServer,
  route,
  seededRandom,
  type Clock,
  type OAuthServer,
  type TwinAnswer,
  type TwinRequest,
  type TwinRoute,
} from 'trestle/testing'
import type { MailchimpState } from './twinAudience.ts'

/** Mailchimp's own login server, which the twin plays at the same paths. */
export const OAUTH_PATHS = {
  authorize: '/oauth2/authorize',
  token: '/oauth2/token',
  metadata: '/oauth2/metadata',
} as const

export interface TwinAccountOptions {
  readonly clock: Clock
  readonly seed: string
  readonly client: { readonly id: string; readonly secret: string }
  /** The data centre, such as `us1`. */
  readonly server: string
  readonly accountName: string
}

/** An account: who may use it by OAuth, and what it says of itself. */
export interface TwinAccount {
  readonly oauth: OAuthServer
  readonly routes: readonly TwinRoute<MailchimpState>[]
  /** Whether a request may go to its path, by OAuth; an API key is looked at elsewhere. */
  mayAsk(request: Pick<TwinRequest<MailchimpState>, 'headers' | 'path'>): boolean
}

/** Tokens of Mailchimp do not end. */
const FOR_EVER_MS = 100 * 365 * 24 * 60 * 60 * 1000

export function createTwinAccount({
  clock,
  seed,
  client,
  server,
  accountName,
}: TwinAccountOptions): TwinAccount {
  const accountId = createHash('sha256').update(`${seed} ${accountName}`).digest('hex').slice(0, 25)
  const oauth = createOAuthServer({
    clock,
    random: seededRandom(`${seed} tokens`),
    client,
    accessTokenMs: FOR_EVER_MS,
  })
  return {
    oauth,
    routes: [
      oauth.authorizeRoute(OAUTH_PATHS.authorize),
      tokenRoute(oauth),
      route('GET', OAUTH_PATHS.metadata, () => ({
        status: 200,
        json: {
          dc: server,
          role: 'owner',
          accountname: accountName,
          user_id: 1_234_567,
          login: { email: 'owner@salon.example', login_id: 7_654_321, login_name: 'salon' },
          login_url: 'https://login.mailchimp.com',
          api_endpoint: `https://${server}.api.mailchimp.com`,
        },
      })),
      route('GET', '/3.0/', () => ({
        status: 200,
        json: { account_id: accountId, login_id: '7654321', account_name: accountName, role: 'owner' },
      })),
    ],
    mayAsk({ headers, path }) {
      if (path === OAUTH_PATHS.authorize || path === OAUTH_PATHS.token) return true
      const [scheme = '', token = ''] = (headers['authorization'] ?? '').split(' ')
      // The metadata is asked for with a word of its own, and nothing else is.
      if (scheme !== (path === OAUTH_PATHS.metadata ? 'OAuth' : 'Bearer')) return false
      return 'grant' in oauth.check({ authorization: `Bearer ${token}` })
    },
  }
}

/** No refresh token, no end, no scope, and no type. A refresh is nothing that there is. */
function tokenRoute(oauth: OAuthServer): TwinRoute<MailchimpState> {
  const standard = oauth.tokenRoute<MailchimpState>(OAUTH_PATHS.token)
  return route('POST', OAUTH_PATHS.token, async (request): Promise<TwinAnswer> => {
    if (request.form.get('grant_type') === 'refresh_token')
      return { status: 400, json: { error: 'unsupported_grant_type' } }
    const answer = await standard.answer(request)
    if (answer.status !== 200) return answer
    const { access_token } = answer.json as { access_token: string }
    return { ...answer, json: { access_token, expires_in: 0, scope: null } }
  })
}
