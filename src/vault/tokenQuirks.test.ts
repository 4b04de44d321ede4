import { describe, expect, it } from 'vitest'
import { hubspot } from '../../connectors/hubspot/index.ts'
import { quickbooks } from '../../connectors/quickbooks/index.ts'
import type { AuthScheme, OAuth2Quirks } from '../define/index.ts'
import { judgeTokenAnswer, type TokenAnswer } from './tokenEndpoint.ts'

const AT = Date.UTC(2026, 10, 22)
const USUAL = { access_token: 'at_1', refresh_token: 'rt_2', token_type: 'bearer', expires_in: 3600 }

function judged(quirks: OAuth2Quirks, body: object, status = 200): Promise<TokenAnswer> {
  return judgeTokenAnswer(
    { status, body: JSON.stringify(body), at: AT },
    {
      tokenUrl: 'https://provider.example/token',
      clientAuth: 'post',
      quirks,
      allowPrivateNetwork: false,
      clientId: 'client',
      clientSecret: 'client-secret',
      by: { kind: 'refresh_token', refreshToken: 'rt_1' },
    },
  )
}

function quirksOf(auth: AuthScheme): OAuth2Quirks {
  return (auth.kind === 'oauth2' ? auth.quirks : undefined) ?? {}
}

const without = (field: keyof typeof USUAL): object =>
  Object.fromEntries(Object.entries(USUAL).filter(([name]) => name !== field))

describe('a token answer without token_type', () => {
  it('is a bearer token where the provider is known for it, and a complaint elsewhere', async () => {
    expect(await judged({ tokenTypeMissing: true }, without('token_type'))).toMatchObject({
      accessToken: 'at_1',
      expiresAt: AT + 3_600_000,
    })
    const complained = await judged({}, without('token_type'))
    expect(complained).toMatchObject({ as: 'granted', refreshToken: 'rt_2' })
    expect(complained).toHaveProperty('complaint')
    expect(complained).not.toHaveProperty('accessToken')
  })
})

describe('an error with status 200', () => {
  const quirks: OAuth2Quirks = { errorsIn200: true, grantIsOver: ['token_revoked'] }

  it('is an error where the provider does that, and ends the grant only by the words that the table has', async () => {
    expect(await judged(quirks, { ok: false, error: 'token_revoked' })).toMatchObject({ as: 'refused' })
    expect(await judged(quirks, { ok: false, error: 'ratelimited' })).toMatchObject({ as: 'unavailable' })
    expect(await judged(quirks, { ...USUAL, ok: true })).toMatchObject({ as: 'granted', accessToken: 'at_1' })
  })

  it('never ends a grant elsewhere', async () => {
    expect(await judged({}, { ok: false, error: 'invalid_grant' })).toMatchObject({ as: 'unavailable' })
  })
})

describe('the end of a token', () => {
  const END = AT + 1_800_000
  it.each<[string, OAuth2Quirks, unknown, number | undefined]>([
    ['as text', {}, { expires_in: '1800' }, END],
    ['as nothing', {}, { expires_in: null }, undefined],
    ['in another field', { expiry: { kind: 'seconds', field: 'ttl' } }, { ttl: 1800 }, END],
    [
      'as a moment in seconds',
      { expiry: { kind: 'at', field: 'expires_in', as: 'seconds' } },
      { expires_in: END / 1000 },
      END,
    ],
    [
      'as a moment in milliseconds',
      { expiry: { kind: 'at', field: 'expires_at', as: 'milliseconds' } },
      { expires_at: String(END) },
      END,
    ],
    [
      'as a date',
      { expiry: { kind: 'at', field: 'expires_at', as: 'date' } },
      { expires_at: new Date(END).toISOString() },
      END,
    ],
    [
      'as no date at all',
      { expiry: { kind: 'at', field: 'expires_at', as: 'date' } },
      { expires_at: 'soon' },
      undefined,
    ],
    ['only in the documentation', { expiry: { kind: 'assumed', seconds: 1800 } }, {}, END],
  ])('is read %s', async (_, quirks, fields, expected) => {
    const answer = await judged(quirks, { ...without('expires_in'), ...(fields as object) })
    expect(answer).toMatchObject({ as: 'granted', accessToken: 'at_1' })
    expect((answer as { expiresAt?: number }).expiresAt).toBe(expected)
  })

  it('counts from when the answer came, however late it is read', async () => {
    expect(await judged({}, USUAL)).toMatchObject({ expiresAt: AT + 3_600_000 })
  })
})

describe('HubSpot', () => {
  const quirks = quirksOf(hubspot.auth)

  it('says BAD_REFRESH_TOKEN in "status" when the app was removed from the account', async () => {
    const gone = { status: 'BAD_REFRESH_TOKEN', message: 'missing or invalid refresh token' }
    expect(await judged(quirks, gone, 400)).toMatchObject({
      as: 'refused',
      reason: expect.stringContaining('missing or invalid refresh token') as string,
    })
    expect(await judged({}, gone, 400)).toMatchObject({ as: 'unavailable' })
  })

  it('and other words there end nothing', async () => {
    expect(await judged(quirks, { status: 'error', message: 'try again' }, 400)).toMatchObject({
      as: 'unavailable',
    })
    expect(await judged(quirks, { error: 'invalid_grant' }, 400)).toMatchObject({ as: 'refused' })
    expect(await judged(quirks, { ...USUAL, hub_id: 1 })).toMatchObject({ accessToken: 'at_1' })
  })
})

describe('QuickBooks', () => {
  it('says how long the refresh token lives', async () => {
    const answer = { ...USUAL, x_refresh_token_expires_in: 8_726_400 }
    expect(await judged(quirksOf(quickbooks.auth), answer)).toMatchObject({
      accessToken: 'at_1',
      refreshExpiresAt: AT + 8_726_400_000,
    })
  })
})
