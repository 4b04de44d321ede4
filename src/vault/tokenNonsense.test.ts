import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { DAY, MINUTE, RetryableError } from '../base/index.ts'
import { openOAuthFixture, type OAuthFixture } from './oauth.fixture.ts'

/** What a token endpoint may say that nobody expects: it must neither be lost nor stand in the way of the next answer. */
let oauth: OAuthFixture
beforeAll(async () => {
  oauth = await openOAuthFixture()
})
afterAll(() => oauth.close())
beforeEach(() => oauth.renew())

describe('a lifetime that no calendar has', () => {
  it.each([
    ['the largest number of 64 bits', '9223372036854775807'],
    ['more than a number can hold', '1e400'],
    ['a time after the last one that can be written', '1e13'],
  ])('(%s) is read as none, and the tokens are kept', async (_, seconds) => {
    const { vault, connection } = await oauth.connected('ages')
    oauth.server.failNext((issued) => ({
      status: 200,
      body: issued().replace(/"expires_in":\d+/, `"expires_in":${seconds}`),
    }))
    const first = await oauth.tokenOf(vault, connection)
    expect(oauth.server.isGood(first.token)).toBe(true)
    await oauth.clock.advance(1000 * DAY)
    expect(await oauth.tokenOf(vault, connection)).toEqual(first)
    expect(oauth.server.requests).toHaveLength(1)
  })
})

describe('an answer', () => {
  it.each([
    [
      'an error with a character that the database does not take',
      400,
      '{"error":"down\\u0000","error_description":"a\\u0000b"}',
    ],
    ['an error longer than anything', 400, JSON.stringify({ error: 'x'.repeat(60_000) })],
    ['control characters that grow when they are written as text', 200, '\u0001'.repeat(120_000)],
    ['bytes that are no text', 502, Buffer.alloc(120_000, 0xfe).toString('latin1')],
  ])('of %s (%i) is told of, and the next is asked for as ever', async (_, status, body) => {
    const { vault, connection } = await oauth.connected('nonsense')
    oauth.server.failNext(() => ({ status, body }))
    await expect(oauth.tokenOf(vault, connection)).rejects.toMatchObject({
      code: expect.stringMatching(/^token_/),
      retryAt: expect.any(Number),
    })
    await oauth.clock.advance(MINUTE)
    expect(oauth.server.isGood((await oauth.tokenOf(vault, connection)).token)).toBe(true)
    expect(await oauth.stateOf(connection)).toBe('active')
  })

  // A gateway gives up on a server that goes on, and a page that is no token answer may stand before one that was.
  it.each([502, 504, 200])(
    'of another than the token server (%i) may have hidden the real one, and the refusal after it says so',
    async (status) => {
      const { vault, connection } = await oauth.connected('hidden')
      oauth.server.failNext((issued) => {
        issued()
        return { status, body: '<html>Bad gateway</html>' }
      })
      await expect(oauth.tokenOf(vault, connection)).rejects.toBeInstanceOf(RetryableError)
      await oauth.clock.advance(MINUTE)
      await expect(oauth.tokenOf(vault, connection)).rejects.toMatchObject({ code: 'needs_reauthorization' })
      const refused = (await oauth.entries()).filter(({ action }) => action === 'credential.refused')
      expect(refused).toMatchObject([{ outcome: 'token_answer_lost' }])
    },
  )

  it('that may be lost is not forgotten where the client is missing for a while', async () => {
    const { vault, connection } = await oauth.connected('doubt')
    oauth.server.failNext((issued) => {
      issued()
      return { status: 504, body: '' }
    })
    await expect(oauth.tokenOf(vault, connection)).rejects.toBeInstanceOf(RetryableError)
    await oauth.database.pool.query(`update secrets set field = 'aside' where field = 'clientSecret'`)
    await oauth.clock.advance(MINUTE)
    await expect(oauth.tokenOf(vault, connection)).rejects.toMatchObject({ code: 'secret_missing' })
    await oauth.database.pool.query(`update secrets set field = 'clientSecret' where field = 'aside'`)
    await oauth.clock.advance(MINUTE)
    await expect(oauth.tokenOf(vault, connection)).rejects.toMatchObject({ code: 'needs_reauthorization' })
    const refused = (await oauth.entries()).filter(({ action }) => action === 'credential.refused')
    expect(refused).toMatchObject([{ outcome: 'token_answer_lost' }])
  })

  it('that says 503 and nothing more is no reason to think so', async () => {
    const { vault, connection } = await oauth.connected('away')
    oauth.server.failNext(() => ({ status: 503, body: '' }))
    await expect(oauth.tokenOf(vault, connection)).rejects.toBeInstanceOf(RetryableError)
    await oauth.clock.advance(MINUTE)
    oauth.server.failNext(() => ({ status: 400, body: '{"error":"invalid_grant"}' }))
    await expect(oauth.tokenOf(vault, connection)).rejects.toMatchObject({ code: 'needs_reauthorization' })
    const refused = (await oauth.entries()).filter(({ action }) => action === 'credential.refused')
    expect(refused).toMatchObject([{ outcome: 'invalid_grant' }])
  })
})
