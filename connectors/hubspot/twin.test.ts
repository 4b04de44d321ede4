import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createFakeClock, type FakeClock } from 'trestle/testing'
import { createHubspotTwin, type HubspotTwin } from './twin.ts'

let clock: FakeClock
let twin: HubspotTwin

interface Answered {
  status: number
  json: {
    category?: string
    message?: string
    id?: string
    total?: number
    results?: { id: string; properties: Record<string, string | null> }[]
    paging?: { next: { after: string } }
    access_token?: string
    refresh_token?: string
    expires_in?: number
    status?: string
  }
}

const call = async (method: string, path: string, body?: unknown, token = 'pat-twin'): Promise<Answered> => {
  const answer = await fetch(twin.url + path, {
    method,
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  const text = await answer.text()
  return { status: answer.status, json: text === '' ? {} : JSON.parse(text) }
}
const refresh = async (refreshToken: string, secret = 'hubspot-client-secret'): Promise<Answered> => {
  const answer = await fetch(`${twin.url}/oauth/v1/token`, {
    method: 'POST',
    body: new URLSearchParams({
      grant_type: 'refresh_token',
      client_id: 'hubspot-client',
      client_secret: secret,
      refresh_token: refreshToken,
    }),
  })
  return { status: answer.status, json: (await answer.json()) as Answered['json'] }
}
const create = (properties: Record<string, string>) =>
  call('POST', '/crm/v3/objects/contacts', { properties })

describe('the twin of HubSpot', () => {
  beforeEach(async () => {
    clock = createFakeClock()
    twin = createHubspotTwin({ clock, requestsPer10Seconds: 20 })
    await twin.start()
  })
  afterEach(async () => {
    if (twin.ownErrors().length > 0) throw new Error(twin.ownErrors().join('\n'))
    await twin.stop()
  })

  it('expires access tokens after 30 minutes and keeps the refresh token', async () => {
    const { accessToken, refreshToken } = twin.install()
    expect(await call('GET', '/crm/v3/objects/contacts', undefined, accessToken)).toMatchObject({
      status: 200,
    })
    await clock.advance(30 * 60_000)
    expect(await call('GET', '/crm/v3/objects/contacts', undefined, accessToken)).toMatchObject({
      status: 401,
      json: { category: 'EXPIRED_AUTHENTICATION' },
    })
    const fresh = await refresh(refreshToken)
    expect(fresh).toMatchObject({ status: 200, json: { refresh_token: refreshToken, expires_in: 1800 } })
    expect(await call('GET', '/crm/v3/objects/contacts', undefined, fresh.json.access_token)).toMatchObject({
      status: 200,
    })
  })

  it("refuses a dead refresh token in HubSpot's words, and another secret", async () => {
    expect(await refresh('gone')).toMatchObject({ status: 400, json: { status: 'BAD_REFRESH_TOKEN' } })
    expect((await refresh(twin.install().refreshToken, 'wrong')).status).toBe(401)
  })

  it('keeps an address unique, whatever its case', async () => {
    const { json } = await create({ email: 'Ada@Example.com' })
    expect(await create({ email: 'ada@example.com' })).toMatchObject({
      status: 409,
      json: { category: 'CONFLICT', message: `Contact already exists. Existing ID: ${json.id}` },
    })
  })

  it('refuses properties that the portal does not have, and bad addresses', async () => {
    expect(await create({ email: 'a@b.cd', nonsense: '1' })).toMatchObject({
      status: 400,
      json: { category: 'VALIDATION_ERROR' },
    })
    expect((await create({ email: 'nobody' })).status).toBe(400)
    expect(twin.effects()).toEqual([])
  })

  it('searches what was there ten seconds ago, while reads see it at once', async () => {
    const { json } = await create({ email: 'ada@example.com' })
    const search = () =>
      call('POST', '/crm/v3/objects/contacts/search', {
        filterGroups: [{ filters: [{ propertyName: 'email', operator: 'EQ', value: 'ada@example.com' }] }],
      })
    expect((await search()).json.total).toBe(0)
    expect((await call('GET', `/crm/v3/objects/contacts/${json.id}`)).status).toBe(200)
    await clock.advance(9999)
    expect((await search()).json.total).toBe(0)
    await clock.advance(1)
    expect((await search()).json.total).toBe(1)
  })

  it('gives lists and searches in pages', async () => {
    for (const n of [1, 2, 3]) await create({ email: `p${n}@example.com` })
    await clock.advance(10_000)
    const first = await call('GET', '/crm/v3/objects/contacts?limit=2')
    const second = await call(
      'GET',
      `/crm/v3/objects/contacts?limit=2&after=${first.json.paging?.next.after}`,
    )
    expect(
      [...first.json.results!, ...second.json.results!].map(({ properties }) => properties['email']),
    ).toEqual(['p1@example.com', 'p2@example.com', 'p3@example.com'])
    expect(second.json.paging).toBeUndefined()
    const page = await call('POST', '/crm/v3/objects/contacts/search', { limit: 2 })
    expect(page.json).toMatchObject({ total: 3, paging: { next: { after: '2' } } })
    expect((await call('POST', '/crm/v3/objects/contacts/search', { limit: 201 })).status).toBe(400)
  })

  it('answers 429 with the policy when there are too many requests, and lets them in again later', async () => {
    for (let i = 0; i < 20; i++) await call('GET', '/crm/v3/objects/contacts')
    expect(await call('GET', '/crm/v3/objects/contacts')).toMatchObject({
      status: 429,
      json: { policyName: 'TEN_SECONDLY_ROLLING' },
    })
    await clock.advance(10_000)
    expect((await call('GET', '/crm/v3/objects/contacts')).status).toBe(200)
  })

  it('takes a second upsert of the same values for nothing new', async () => {
    const upsert = () =>
      call('POST', '/crm/v3/objects/contacts/batch/upsert', {
        inputs: [{ idProperty: 'email', id: 'Ada@example.com', properties: { firstname: 'Ada' } }],
      })
    expect((await upsert()).json.results).toMatchObject([{ new: true }])
    expect((await upsert()).json.results).toMatchObject([{ new: false }])
    expect(twin.effects().map(({ kind, key }) => [kind, key])).toEqual([
      ['contact.created', 'ada@example.com'],
    ])
  })

  it('tells subscribers of changes made over the API too, in one delivery', async () => {
    twin.subscribe(`${twin.url}/nowhere`)
    await create({ email: 'ada@example.com', firstname: 'Ada' })
    await expect.poll(() => twin.deliveries().length, { timeout: 60_000 }).toBe(1)
    expect(JSON.parse(twin.deliveries()[0]!.body)).toMatchObject([
      { subscriptionType: 'contact.creation', changeSource: 'INTEGRATION' },
      { subscriptionType: 'contact.propertyChange', propertyName: 'email' },
      { subscriptionType: 'contact.propertyChange', propertyName: 'firstname' },
    ])
  })

  it('sends a hundred events in a delivery at most', async () => {
    twin.subscribe(`${twin.url}/nowhere`)
    await twin.together(async () => {
      for (let n = 0; n < 60; n++) await twin.contactCreated({ email: `p${n}@example.com` })
    })
    expect(twin.deliveries().map(({ body }) => (JSON.parse(body) as unknown[]).length)).toEqual([100, 20])
  })
})
