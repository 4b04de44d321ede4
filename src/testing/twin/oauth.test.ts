import { request } from 'undici'
import { afterEach, describe, expect, it } from 'vitest'
import { seededRandom } from '../../base/index.ts'
import { createFakeClock } from '../fakeClock.ts'
import { createOAuthServer, type OAuthOptions, type OAuthServer } from './oauth.ts'
import { route } from './routes.ts'
import { createTwin, type Twin } from './twin.ts'

const HOUR = 3_600_000
let twin: Twin | undefined
afterEach(() => twin?.stop())

async function start(policy: Partial<OAuthOptions> = {}) {
  const clock = createFakeClock()
  const oauth = createOAuthServer({
    clock,
    random: seededRandom('oauth'),
    client: { id: 'client', secret: 's+cret' },
    ...policy,
  })
  twin = createTwin({
    name: 'provider',
    state: {},
    clock,
    routes: [
      oauth.tokenRoute('/token'),
      oauth.revokeRoute('/revoke'),
      route('GET', '/me', ({ headers }) => {
        const checked = oauth.check(headers)
        return 'grant' in checked ? { status: 200 } : { status: 401, json: checked }
      }),
    ],
  })
  await twin.start()
  return { clock, oauth }
}

interface Tokens {
  access_token: string
  refresh_token: string
  expires_in: number
  error: string
}

async function ask(form: Record<string, string>, headers: Record<string, string> = {}) {
  const answer = await request(`${twin!.url}/token`, {
    method: 'POST',
    body: new URLSearchParams(form).toString(),
    headers: { 'content-type': 'application/x-www-form-urlencoded', ...headers },
  })
  return { status: answer.statusCode, ...((await answer.body.json()) as Tokens) }
}
const CLIENT = { client_id: 'client', client_secret: 's+cret' }
const refresh = (token: string) => ask({ grant_type: 'refresh_token', refresh_token: token, ...CLIENT })
const me = async (token: string) =>
  (await request(`${twin!.url}/me`, { headers: { authorization: `Bearer ${token}` } })).statusCode
const consent = (oauth: OAuthServer) =>
  ask({
    grant_type: 'authorization_code',
    code: oauth.authorize({ redirectUri: 'https://x' }),
    redirect_uri: 'https://x',
    ...CLIENT,
  })

describe('an authorization server', () => {
  it('exchanges a code once, to the address it was asked for, and not after ten minutes', async () => {
    const { oauth, clock } = await start()
    const code = oauth.authorize({ redirectUri: 'https://x' })
    const form = { grant_type: 'authorization_code', code, ...CLIENT }
    expect(await ask({ ...form, redirect_uri: 'https://x' })).toMatchObject({ status: 200, expires_in: 3600 })
    expect(await ask({ ...form, redirect_uri: 'https://x' })).toMatchObject({
      status: 400,
      error: 'invalid_grant',
    })
    const other = oauth.authorize({ redirectUri: 'https://x' })
    expect(await ask({ ...form, code: other, redirect_uri: 'https://y' })).toMatchObject({
      error: 'invalid_grant',
    })
    const late = oauth.authorize()
    await clock.advance(HOUR)
    expect(await ask({ ...form, code: late })).toMatchObject({ error: 'invalid_grant' })
  })

  it('knows the client by form or by HTTP basic, and nobody else', async () => {
    const { oauth } = await start()
    const { refreshToken } = oauth.grant()
    const form = { grant_type: 'refresh_token', refresh_token: refreshToken }
    expect(await ask(form)).toMatchObject({ status: 401, error: 'invalid_client' })
    const basic = `Basic ${Buffer.from('client:s%2Bcret').toString('base64')}`
    expect(await ask(form, { authorization: basic })).toMatchObject({ status: 200 })
    expect(await ask({ grant_type: 'password', ...CLIENT })).toMatchObject({
      error: 'unsupported_grant_type',
    })
  })

  it('lets access tokens expire, at their time or all at once', async () => {
    const { oauth, clock } = await start()
    const tokens = await consent(oauth)
    expect(await me(tokens.access_token)).toBe(200)
    await clock.advance(HOUR)
    expect(await me(tokens.access_token)).toBe(401)
    const next = await refresh(tokens.refresh_token)
    expect(await me(next.access_token)).toBe(200)
    oauth.expireAccessTokens()
    expect(await me(next.access_token)).toBe(401)
    expect(await me('made up')).toBe(401)
  })

  it.each([
    ['keep', 200, 200],
    ['rotate', 200, 200],
    ['single_use', 400, 200],
    ['revoke_family', 400, 400],
  ] as const)('with refresh tokens of kind %s', async (policy, oldAgain, newAfterwards) => {
    const { oauth } = await start({ refresh: policy })
    const first = await consent(oauth)
    const second = await refresh(first.refresh_token)
    expect(second.refresh_token === first.refresh_token).toBe(policy === 'keep')
    expect((await refresh(first.refresh_token)).status).toBe(oldAgain)
    expect((await refresh(second.refresh_token)).status).toBe(newAfterwards)
  })

  it('ends everything when a grant is revoked', async () => {
    const { oauth } = await start()
    const tokens = await consent(oauth)
    const answer = await request(`${twin!.url}/revoke`, {
      method: 'POST',
      body: new URLSearchParams({ token: tokens.refresh_token, ...CLIENT }).toString(),
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
    })
    expect(answer.statusCode).toBe(200)
    expect(await me(tokens.access_token)).toBe(401)
    expect((await refresh(tokens.refresh_token)).error).toBe('invalid_grant')
    expect(oauth.refreshCount()).toBe(0)
  })
})
