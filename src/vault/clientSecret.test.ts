import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { HOUR, MINUTE } from '../base/index.ts'
import { openOAuthFixture, type OAuthFixture } from './oauth.fixture.ts'
import { CLIENT } from './tokenServer.fixture.ts'

let fixture: OAuthFixture
let end: () => Promise<void>
beforeAll(async () => {
  fixture = await openOAuthFixture()
})
beforeEach(async () => {
  end = await fixture.renew()
})
afterEach(() => end())
afterAll(() => fixture.close())

const NEW = 'the new secret +/%'
const REFUSED = (description = 'no such client') => ({
  status: 401,
  body: JSON.stringify({ error: 'invalid_client', error_description: description }),
})
/** The secret that each request to the token endpoint showed. */
const shown = (): readonly (string | undefined)[] =>
  fixture.server.requests.map(({ authorization }) => {
    const [, secret = ''] = Buffer.from(authorization!.split(' ')[1]!, 'base64').toString().split(':')
    return new URLSearchParams(`s=${secret}`).get('s') ?? undefined
  })

async function rotated(name: string, overlapMs = HOUR) {
  const { vault, connection } = await fixture.connected(name)
  const wish = { secrets: { clientSecret: NEW }, overlapMs }
  await vault.rotate('default', name, wish, 'operator:ada')
  return { vault, connection, token: () => fixture.tokenOf(vault, connection) }
}

describe("a rotated secret of an OAuth client, at the provider's token endpoint", () => {
  it('is shown, and the former one no more where it is taken', async () => {
    const { token } = await rotated('taken')
    expect(fixture.server.isGood((await token()).token)).toBe(true)
    expect(shown()).toEqual([NEW])
  })

  it('is followed by the former one where it is refused: the grant lives, and somebody is told', async () => {
    const { token, connection } = await rotated('refused')
    fixture.server.failNext(() => REFUSED())
    expect(fixture.server.isGood((await token()).token)).toBe(true)
    expect(shown()).toEqual([NEW, CLIENT.secret])
    const asked = fixture.server.requests.map(({ form }) => form.get('refresh_token'))
    expect(new Set(asked).size).toBe(1)
    expect(fixture.server.deadFamilies()).toBe(0)
    const noted = async () =>
      (
        await fixture.database.pool.query<{ refused_reason: string }>(
          'select refused_reason from connection_checks where connection_id = $1 and former_used_at is not null',
          [connection.id],
        )
      ).rows
    await expect
      .poll(noted)
      .toMatchObject([{ refused_reason: expect.stringContaining('refuses the new clientSecret') as string }])
  })

  it('stands alone once the overlap is over', async () => {
    const { token } = await rotated('over', MINUTE)
    await fixture.clock.advance(MINUTE)
    fixture.server.failNext(() => REFUSED())
    await expect(token()).rejects.toMatchObject({ code: 'client_refused' })
    expect(shown()).toEqual([NEW])
  })

  it.each([
    ['invalid_grant', { status: 400, body: JSON.stringify({ error: 'invalid_grant' }) }],
    ['a fault of the server', { status: 503, body: '' }],
    ['invalid_client with 200', { status: 200, body: JSON.stringify({ error: 'invalid_client' }) }],
  ])('is followed by nothing where the answer is %s: it was looked at', async (_, answer) => {
    const { token } = await rotated('looked-at')
    fixture.server.failNext(() => answer)
    await expect(token()).rejects.toThrow(/token endpoint|authorized again/)
    expect(shown()).toEqual([NEW])
  })

  it('is what is told of where both are refused, and neither stands in the ledger', async () => {
    const { token } = await rotated('both')
    fixture.server.failNext(() => REFUSED(`${NEW} and ${CLIENT.secret} are wrong`))
    fixture.server.failNext(() => REFUSED(`${NEW} and ${CLIENT.secret} are wrong`))
    await expect(token()).rejects.toMatchObject({
      code: 'client_refused',
      message: expect.stringContaining('[secret] and [secret] are wrong') as string,
    })
    expect(shown()).toEqual([NEW, CLIENT.secret])
    const written = JSON.stringify(await fixture.entries())
    for (const secret of [NEW, CLIENT.secret]) expect(written).not.toContain(secret)
  })

  it('wakes nobody who waits for an authorization', async () => {
    const { vault, connection } = await fixture.connected('waiting')
    await fixture.database.pool.query(
      `update connections set state = 'needs_reauthorization' where id = $1`,
      [connection.id],
    )
    await vault.rotate('default', 'waiting', { secrets: { clientSecret: NEW } }, 'operator:ada')
    expect(await fixture.stateOf(connection)).toBe('needs_reauthorization')
  })
})
