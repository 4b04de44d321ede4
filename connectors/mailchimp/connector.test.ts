import { afterEach, describe, expect, it } from 'vitest'
import { defineFlow, poll, type ProviderAnswer } from 'trestle'
import { playPoll } from 'trestle/testing'
import { bench, closeBenches, PATH, send } from '../../tests/support/webhookBench.ts'
import { classify } from './faults.ts'
import { unpacked } from './form.ts'
import { changes, mailchimp } from './index.ts'
import { createMailchimpTwin } from './twin.ts'

const NOW = Date.parse('2026-11-22T10:00:00Z')

const answer = (status: number, json?: unknown): ProviderAnswer => ({
  status,
  headers: {},
  json: json as ProviderAnswer['json'],
  text: JSON.stringify(json ?? ''),
})
const problem = (title: string, detail: string, more: object = {}) => ({
  type: 'https://mailchimp.com/developer/marketing/docs/errors/',
  title,
  detail,
  instance: '',
  ...more,
})

describe('what an answer of Mailchimp means', () => {
  it('a refusal is called by its title, and says which fields are wrong', () => {
    const errors = [
      { field: 'merge_fields.PHONE', message: 'Please enter a phone number.' },
      { message: 'And more.' },
    ]
    const refused = problem('Invalid Resource', 'It could not be validated.', { errors })
    expect(classify(answer(400, refused), NOW)).toEqual({
      as: 'failed',
      code: 'invalid_resource',
      reason: 'It could not be validated. merge_fields.PHONE: Please enter a phone number. And more.',
    })
  })

  it('401 needs another key, or the right data centre', () => {
    expect(classify(answer(401, problem('API Key Invalid', 'It may be invalid.')), NOW)).toMatchObject({
      as: 'unauthorized',
      reason: expect.stringContaining('"server"'),
    })
  })

  it('403 is a refusal with a problem, and too much without one', () => {
    expect(classify(answer(403, problem('Forbidden', 'No.')), NOW)).toMatchObject({
      as: 'failed',
      code: 'forbidden',
    })
    expect(classify(answer(403), NOW)).toMatchObject({
      as: 'retry',
      code: 'throttled',
      retryAt: NOW + 60_000,
    })
  })

  it('somebody who signed up too often is tried again later', () => {
    const words =
      "ada@example.com has signed up to a lot of lists very recently; we're not allowing more signups for now"
    expect(classify(answer(400, problem('Invalid Resource', words)), NOW)).toMatchObject({
      as: 'retry',
      code: 'signups_paused',
      retryAt: NOW + 3_600_000,
    })
  })

  it('what the defaults handle is left to them', () => {
    for (const status of [200, 204, 408, 429, 500, 503]) expect(classify(answer(status), NOW)).toBeUndefined()
  })

  it.each([
    undefined,
    null,
    [],
    'text',
    { title: 7 },
    { errors: 'text' },
    { errors: [null, 7, { field: 'a' }] },
  ])('a body of any shape is taken: %j', (json) => {
    expect(classify(answer(400, json), NOW)).toMatchObject({ as: 'failed', code: 'status_400' })
  })
})

describe('a form with the names of PHP', () => {
  it('is what stands under "data", nested, with the time', () => {
    expect(
      unpacked({
        type: 'profile',
        fired_at: '2026-11-22 09:00:00',
        'data[email]': 'a@b.example',
        'data[merges][FNAME]': 'Ada',
        'data[merges][GROUPINGS][0][name]': 'Hair',
        'data[merges][GROUPINGS][0][groups]': ['Cut', 'Colour'],
      }),
    ).toEqual({
      email: 'a@b.example',
      merges: { FNAME: 'Ada', GROUPINGS: { 0: { name: 'Hair', groups: ['Cut', 'Colour'] } } },
      fired_at: '2026-11-22 09:00:00',
    })
  })

  it.each([
    [{ 'data[__proto__][polluted]': 'yes', 'data[constructor]': 'c' }],
    [{ 'data[a': 'open', ']': 'closed', '[x]': 'no name', 'data[]': 'empty' }],
    [{ data: 'a text', 'data[a]': 'and an object' }],
    ['text'],
    [null],
    [['list']],
  ])('pollutes nothing and throws nothing: %j', (form) => {
    expect(() => unpacked(form)).not.toThrow()
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined()
  })

  it('that lacks what a flow rests on fails its contract', async () => {
    const { schema } = mailchimp.events.subscribe
    const form = { type: 'subscribe', fired_at: '2026-11-22 09:00:00', 'data[list_id]': 'a1' }
    expect(await schema['~standard'].validate(form)).toHaveProperty('issues')
    expect(await schema['~standard'].validate({ ...form, 'data[email]': 'a@b.example' })).toMatchObject({
      value: { email: 'a@b.example', list_id: 'a1' },
    })
  })
})

describe('the webhook', () => {
  afterEach(closeBenches)
  const SECRET = 'long & random'
  const events = mailchimp.webhooks!.events

  it('says when it happened, as UTC, and nothing where the time is none', () => {
    const read = (firedAt: string) =>
      events({ body: { type: 'profile', fired_at: firedAt }, headers: {}, settings: {} })[0]
    expect(read('2009-03-26 21:35:57')).toEqual({
      type: 'profile',
      at: '',
      occurredAt: '2009-03-26T21:35:57.000Z',
    })
    expect(read('2009-13-26 21:35:57')).toEqual({ type: 'profile', at: '' })
    expect(() => events({ body: { type: 'profile' }, headers: {}, settings: {} })).toThrow(/fired_at/)
  })

  it('is set up: intake answers the GET of Mailchimp, and not one with another secret', async () => {
    const here = await bench({ webhooks: mailchimp.webhooks!, secrets: () => Promise.resolve([SECRET]) })
    const twin = createMailchimpTwin({ clock: here.clock, retryAfterMs: [] })
    await twin.start()
    const url = `http://127.0.0.1:${here.port}${PATH}`
    expect(await twin.validate(url, SECRET)).toBe(true)
    expect(await twin.validate(url, 'another')).toBe(false)
    expect(here.accepted).toEqual([])
    await twin.stop()
  })

  it('is taken with the secret, known again by its whole content, and refused without', async () => {
    const here = await bench({ webhooks: mailchimp.webhooks!, secrets: () => Promise.resolve([SECRET]) })
    const twin = createMailchimpTwin({ clock: here.clock, retryAfterMs: [] })
    await twin.start()
    twin.subscribe(`http://127.0.0.1:${here.port}${PATH}`, SECRET)
    await twin.signedUp({ email: 'ada@example.com', mergeFields: { FNAME: 'Ada' } })
    await twin.webhooks.resend(1)
    const [first, again] = here.accepted
    expect(again?.body).toEqual(first?.body)
    expect(here.accepted).toMatchObject([
      { contentUnique: true, events: [{ type: 'subscribe' }] },
      { contentUnique: true, events: [{ type: 'subscribe' }] },
    ])
    const bare = await send(here, {
      body: String(first!.body),
      headers: [['content-type', 'application/x-www-form-urlencoded']],
    })
    expect(bare.status).toBe(401)
    expect(here.accepted).toHaveLength(2)
    await twin.stop()
  })
})

describe('members that changed', () => {
  const flow = defineFlow({
    name: 'member-seen',
    on: poll(mailchimp, changes.members('a1b2c3d4e5'), { every: '15 min', from: 'beginning' }),
    run: () => undefined,
  })
  const member = (i: number, at: string) => ({
    id: `hash${i}`,
    email_address: `member${i}@example.com`,
    status: 'subscribed',
    last_changed: at,
    list_id: 'a1b2c3d4e5',
  })

  it('are read longest unchanged first, a page at a time, each once', () => {
    const all = Array.from({ length: 1200 }, (_, i) =>
      // Some thousand within one second, as after an import: the page alone leads through them.
      member(i, i < 1100 ? '2026-11-22T09:00:00+00:00' : '2026-11-22T09:00:01+00:00'),
    )
    const asked: { sinceLastChanged?: string; offset: number }[] = []
    const played = playPoll(
      flow,
      (input) => {
        const ask = input as { sinceLastChanged?: string; count: number; offset: number }
        asked.push(ask)
        const since = Date.parse(ask.sinceLastChanged ?? '1970-01-01')
        const found = all.filter(({ last_changed: at }) => Date.parse(at) > since)
        return {
          members: found.slice(ask.offset, ask.offset + ask.count),
          list_id: 'a1b2c3d4e5',
          total_items: found.length,
        }
      },
      { now: '2026-11-22T10:00:00Z', polls: 2 },
    )
    expect(played.items).toHaveLength(1200)
    expect(played.cursor).toBe('2026-11-22T09:00:01.000Z')
    expect(asked[1]).toMatchObject({ sinceLastChanged: '2026-11-22T08:59:59.000Z', offset: 0 })
    expect(asked[2]).toMatchObject({ offset: 500 })
  })

  it('without a time are refused one by one', () => {
    const { items, refused } = playPoll(
      flow,
      () => ({
        members: [member(1, '2026-11-22T09:00:00+00:00'), { ...member(2, ''), last_changed: 'yesterday' }],
        list_id: 'a1b2c3d4e5',
        total_items: 2,
      }),
      { now: '2026-11-22T10:00:00Z' },
    )
    expect(items).toHaveLength(1)
    expect(refused).toEqual(['/members/1/last_changed'])
  })
})
