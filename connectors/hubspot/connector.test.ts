import { describe, expect, it } from 'vitest'
import type { ProviderAnswer, RequestContext } from 'trestle'
import { eventsOf } from './events.ts'
import { hubspot } from './index.ts'
import { classify } from './limits.ts'
import { markerOf } from './marker.ts'
import { createNote } from './notes.ts'

const NOW = Date.parse('2026-11-22T10:00:00Z')

const answer = (status: number, json?: unknown, headers: Record<string, string> = {}): ProviderAnswer => ({
  status,
  headers,
  json: json as ProviderAnswer['json'],
  text: JSON.stringify(json ?? ''),
})
const context: RequestContext = { settings: {}, idempotencyKey: 'run_1.notes-create.0', begunAt: NOW }
const ada = { contact: '512', text: 'Hello' }

describe('what an answer of HubSpot means', () => {
  it.each([
    ['a rolling limit', 429, { policyName: 'TEN_SECONDLY_ROLLING' }, 'rate_limited', NOW + 10_000],
    ['the daily limit', 429, { policyName: 'DAILY' }, 'daily_limit_reached', NOW + 3_600_000],
    ['a locked account', 423, {}, 'locked', NOW + 2000],
    ['an account on the move', 477, {}, 'account_migrating', NOW + 3_600_000],
  ])('%s is tried again later', (_what, status, json, code, retryAt) => {
    expect(classify(answer(status, json), NOW)).toMatchObject({ as: 'retry', code, retryAt })
  })

  it.each([
    ['seconds', '17', NOW + 17_000],
    ['a date', 'Sun, 22 Nov 2026 10:01:00 GMT', NOW + 60_000],
  ])('Retry-After in %s wins over every default', (_what, value, retryAt) => {
    for (const status of [423, 429, 477])
      expect(classify(answer(status, {}, { 'retry-after': value }), NOW)).toMatchObject({ retryAt })
  })

  it('an unreadable Retry-After is no time', () => {
    expect(classify(answer(429, {}, { 'retry-after': 'soon' }), NOW)).toMatchObject({ retryAt: NOW + 10_000 })
  })

  it('a failed input of a batch of one fails the call, though the status is 2xx', () => {
    const errors = [{ category: 'VALIDATION_ERROR', message: 'Email address x is invalid' }]
    expect(classify(answer(207, { status: 'COMPLETE', results: [], numErrors: 1, errors }), NOW)).toEqual({
      as: 'failed',
      code: 'validation_error',
      reason: 'Email address x is invalid',
    })
  })

  it("a refusal keeps HubSpot's words and the correlation id, and survives a body without either", () => {
    const json = { category: 'VALIDATION_ERROR', message: 'Bad', correlationId: 'c-1' }
    expect(classify(answer(400, json), NOW)).toEqual({
      as: 'failed',
      code: 'validation_error',
      reason: 'Bad (correlation id c-1)',
    })
    for (const odd of [undefined, null, [], 'text', { message: 7 }])
      expect(classify(answer(400, odd), NOW)).toMatchObject({ as: 'failed', code: 'http_400' })
  })

  it('a conflict of an upsert passes by itself; that of an update does not', () => {
    const conflict = answer(409, { category: 'CONFLICT', message: 'Contact already exists.' })
    expect(hubspot.operations.contacts.upsert.classify?.(conflict, NOW)).toMatchObject({ as: 'retry' })
    expect(classify(conflict, NOW)).toMatchObject({ as: 'failed', code: 'conflict' })
  })

  it('a server error is left to the defaults', () => {
    expect(classify(answer(500, {}), NOW)).toBeUndefined()
    expect(classify(answer(200, {}), NOW)).toBeUndefined()
  })

  it('a contact that is not there is found to be null; a page that is no answer is not', () => {
    const { find } = hubspot.operations.contacts
    const missing = answer(404, { status: 'error', message: 'resource not found' })
    expect(find.classify?.(missing, NOW)).toEqual({ as: 'succeeded' })
    expect(find.answer?.(missing, { id: '1' })).toBeNull()
    expect(find.classify?.(answer(404), NOW)).toMatchObject({ as: 'failed' })
  })
})

describe('a note', () => {
  const bodyOf = (input: typeof ada, given = context) => {
    const { body } = createNote.request(input, given)
    if (!body || !('json' in body)) throw new Error('a note has a JSON body')
    return body.json as { properties: Record<string, string> }
  }

  it('is plain text for HubSpot, with our reference at its end', () => {
    const { properties } = bodyOf({ contact: '1', text: 'a < b & "c"\nnext' })
    expect(properties['hs_note_body']).toBe(
      `a &lt; b &amp; "c"<br>next<br><br>[${markerOf(context.idempotencyKey)}]`,
    )
  })

  it('stands at the time when its step was begun, in every attempt', () => {
    expect(bodyOf(ada).properties['hs_timestamp']).toBe('2026-11-22T10:00:00.000Z')
  })

  it('that is too long is refused before it is sent', () => {
    expect(() => bodyOf({ contact: '1', text: '<'.repeat(20_000) })).toThrow(/Shorten the text/)
  })

  it('is not found where the page does not hold all candidates', () => {
    const { idempotency } = createNote
    if (idempotency.kind !== 'lookup') throw new Error('notes are looked up')
    const other = { id: '1', properties: { hs_note_body: 'another' }, createdAt: '', updatedAt: '' }
    const page = (total: number) => answer(200, { total, results: [other] })
    expect(idempotency.found(page(1), ada, context)).toBeUndefined()
    expect(() => idempotency.found(page(2), ada, context)).toThrow(/cannot be told/)
    expect(() => idempotency.found(answer(200, {}), ada, context)).toThrow('total')
  })
})

describe('an event', () => {
  const change = {
    eventId: 100,
    subscriptionId: 138,
    portalId: 62515,
    appId: 54321,
    occurredAt: NOW,
    subscriptionType: 'contact.propertyChange',
    attemptNumber: 0,
    objectId: 123,
    propertyName: 'email',
    propertyValue: 'ada@example.com',
  }
  const idOf = (event: object) =>
    eventsOf({ body: [{ ...event }] as never, headers: {}, settings: {} })[0]?.id

  it('is the same in a later attempt', () => {
    expect(idOf({ ...change, attemptNumber: 3 })).toBe(idOf(change))
  })

  it.each(['portalId', 'subscriptionId', 'objectId', 'occurredAt', 'propertyName', 'propertyValue'])(
    'is another where %s differs, though the eventId is the same',
    (field) => {
      expect(idOf({ ...change, [field]: 'another' })).not.toBe(idOf(change))
    },
  )

  it('cannot be made to look like another by moving text between fields', () => {
    const one = { ...change, propertyName: 'a', propertyValue: 'b\npropertyValue:1:b' }
    const two = { ...change, propertyName: 'a\npropertyValue:1:b', propertyValue: 'b' }
    expect(idOf(one)).not.toBe(idOf(two))
  })

  it('of a generic subscription has the name of its object', () => {
    const generic = { ...change, subscriptionType: 'object.propertyChange', objectTypeId: '0-3' }
    expect(eventsOf({ body: [generic], headers: {}, settings: {} })[0]).toMatchObject({
      type: 'deal.propertyChange',
      occurredAt: '2026-11-22T10:00:00.000Z',
      at: '/0',
    })
    const custom = { ...generic, objectTypeId: '2-77' }
    expect(eventsOf({ body: [custom], headers: {}, settings: {} })[0]?.type).toBe('object.propertyChange')
  })

  it('of a body that is not what HubSpot documents is refused with its place', () => {
    expect(() => eventsOf({ body: { a: 1 }, headers: {}, settings: {} })).toThrow(/list of events/)
    expect(() => eventsOf({ body: [change, 7], headers: {}, settings: {} })).toThrow(/Entry 1/)
    expect(() => eventsOf({ body: [{}], headers: {}, settings: {} })).toThrow(/Entry 0/)
  })

  it('keeps what HubSpot adds, and takes what it has not announced', async () => {
    const schema = hubspot.events['contact.propertyChange'].schema
    const given = { ...change, changeSource: 'A_NEW_SOURCE', isSensitive: false }
    expect(await schema['~standard'].validate(given)).toEqual({ value: given })
  })
})
