import { describe, expect, it } from 'vitest'
import { defineFlow, poll, type JsonValue, type ProviderAnswer, type RequestContext } from 'trestle'
import { playPoll } from 'trestle/testing'
import { eventsOf } from './events.ts'
import { classify } from './faults.ts'
import { changes, timeOf, xero } from './index.ts'
import { markOf } from './requests.ts'

const NOW = Date.parse('2026-11-22T10:00:00Z')
const { contacts, invoices, payments, tenants } = xero.operations

const answer = (status: number, json?: unknown, headers: Record<string, string> = {}): ProviderAnswer => ({
  status,
  headers,
  json: json as ProviderAnswer['json'],
  text: JSON.stringify(json ?? ''),
})
const context = (idempotencyKey = 'run_1.pay.0'): RequestContext => ({
  settings: { tenantId: 'org-1' },
  idempotencyKey,
  begunAt: NOW,
})
/** The one thing that a write sends. */
const sentBy = (request: { body?: object | undefined }): Record<string, unknown> => {
  const { json } = request.body as { json: Record<string, Record<string, unknown>[]> }
  return Object.values(json)[0]![0]!
}

describe('what an answer of Xero means', () => {
  it('a refused write has failed, with everything that Xero says', () => {
    const refused = {
      ErrorNumber: 10,
      Type: 'ValidationException',
      Message: 'A validation exception occurred',
      Elements: [
        {
          ValidationErrors: [
            { Message: 'Invoice # must be unique.' },
            { Message: 'Email address must be valid.' },
          ],
        },
        { ValidationErrors: [{ Message: 'Invoice # must be unique.' }] },
      ],
    }
    expect(classify(answer(400, refused), NOW)).toEqual({
      as: 'failed',
      code: 'validation',
      reason: 'Invoice # must be unique. Email address must be valid.',
    })
  })

  it.each([
    ['its type', { Type: 'QueryParseException', Message: 'No operator' }, 'query_parse', 'No operator'],
    ['its status, without a type', { Detail: 'Gone' }, 'http_400', 'Gone'],
    ['its status, without a body', undefined, 'http_400', 'Xero answered 400.'],
  ])('another refusal is called by %s', (_how, json, code, reason) => {
    expect(classify(answer(400, json), NOW)).toEqual({ as: 'failed', code, reason })
  })

  it('401 and 403 need an authorization', () => {
    expect(classify(answer(401, { Detail: 'TokenExpired' }), NOW)).toMatchObject({ as: 'unauthorized' })
    expect(classify(answer(403, { Detail: 'AuthenticationUnsuccessful' }), NOW)).toMatchObject({
      as: 'unauthorized',
      code: 'tenant_not_connected',
    })
  })

  it.each<[string, Record<string, string>, string, number]>([
    ['the minute', { 'retry-after': '43', 'x-rate-limit-problem': 'Minute' }, 'rate_limited_minute', 43_000],
    ['the day', { 'retry-after': '66975', 'x-rate-limit-problem': 'day' }, 'rate_limited_day', 66_975_000],
    ['too many at once, which names no time', {}, 'rate_limited', 5000],
    ['a header that is no word', { 'x-rate-limit-problem': 'a b' }, 'rate_limited', 5000],
  ])('429 is tried again when there is room: %s', (_what, headers, code, wait) => {
    expect(classify(answer(429, undefined, headers), NOW)).toMatchObject({
      as: 'retry',
      code,
      retryAt: NOW + wait,
    })
  })

  it('a key that is under way is in doubt, and a server error is left to the defaults', () => {
    expect(classify(answer(409), NOW)).toMatchObject({ as: 'in_doubt' })
    for (const status of [200, 408, 500, 503]) expect(classify(answer(status), NOW)).toBeUndefined()
  })
})

describe('a request', () => {
  it('names the organisation, and is not made without one', () => {
    const request = contacts.retrieve.request({ id: 'a/b' }, context())
    expect(request).toMatchObject({
      path: '/api.xro/2.0/Contacts/a%2Fb',
      headers: { 'xero-tenant-id': 'org-1' },
    })
    expect(() => contacts.retrieve.request({ id: '1' }, { ...context(), settings: {} })).toThrow(
      /tenants\.list/,
    )
    expect(tenants.list.request({}, { ...context(), settings: {} }).path).toBe('/connections')
  })

  it('makes things by PUT, which changes nothing that is there', () => {
    const line = { description: 'Treatment', unitAmount: '80' }
    expect(contacts.create.request({ name: 'Ada' }, context()).method).toBe('PUT')
    expect(invoices.create.request({ contact: '1', lines: [line] }, context()).method).toBe('PUT')
    const payment = { invoice: '1', amount: '1', accountCode: '090' }
    expect(payments.create.request(payment, context()).method).toBe('PUT')
  })

  it('marks what it makes, each step its own, and refuses a reference that leaves no room', () => {
    const referenceOf = (reference?: string, key?: string) =>
      sentBy(
        payments.create.request({ invoice: '1', amount: '1', accountCode: '090', reference }, context(key)),
      )['Reference']
    const mark = markOf('run_1.pay.0')
    expect(mark).toMatch(/^trestle-[0-9a-f]{20}$/)
    expect(referenceOf()).toBe(mark)
    expect(referenceOf('pi_1')).toBe(`pi_1 [${mark}]`)
    expect(referenceOf(undefined, 'run_2.pay.0')).not.toBe(mark)
    expect(() => referenceOf('x'.repeat(230))).toThrow(/Shorten it/)
    expect(sentBy(contacts.create.request({ name: 'Ada' }, context()))['ContactNumber']).toBe(mark)
  })

  it.each(['80', '40.1234', '-5', '99999999999.9999', '0.10'])(
    'sends the amount %s exactly',
    (unitAmount) => {
      const lines = [{ description: 'Treatment', unitAmount }]
      const request = invoices.create.request({ contact: '1', lines }, context())
      expect(request.query).toMatchObject({ unitdp: 4 })
      const [line] = sentBy(request)['LineItems'] as { UnitAmount: number }[]
      expect(JSON.stringify(line!.UnitAmount)).toBe(unitAmount.replace(/(\.\d*?)0+$/, '$1'))
    },
  )

  it.each(['1.23456', '123456789012', '1e3', ' 1', '1,5'])('refuses the amount %s', async (unitAmount) => {
    const lines = [{ description: 'Treatment', unitAmount }]
    const result = await invoices.create.input['~standard'].validate({ contact: '1', lines })
    expect(result.issues).toHaveLength(1)
  })

  it('cannot be made to filter by something else than an address', async () => {
    const validate = (email: string) => contacts.findByEmail.input['~standard'].validate({ email })
    expect((await validate('ada@example.com')).issues).toBeUndefined()
    expect((await validate('ada@example.com" OR Name!="')).issues).toHaveLength(1)
  })
})

describe('a look-up', () => {
  const { idempotency } = invoices.create
  if (idempotency.kind !== 'key' || !idempotency.afterLifetime) throw new Error('there is a look-up')
  const lookup = idempotency.afterLifetime
  const input = { contact: 'c-1', lines: [{ description: 'Treatment', unitAmount: '80' }] }

  it('asks for the contact’s invoices that changed since the step began, with room for a clock that is behind', () => {
    expect(lookup.request(input, context())).toMatchObject({
      query: { ContactIDs: 'c-1', page: 1, pageSize: 1000 },
      headers: { 'if-modified-since': '2026-11-22T09:50:00' },
    })
  })

  it('begins before Xero forgets the key', () => {
    expect(idempotency.lifetimeMs).toBeLessThan(6 * 60_000)
  })

  it('cannot tell from a full page without ours, or from no page', () => {
    const others = (count: number) => ({
      Invoices: Array.from({ length: count }, () => ({ Reference: 'another' })),
    })
    expect(lookup.found(answer(200, others(999)), input, context())).toBeUndefined()
    expect(() => lookup.found(answer(200, others(1000)), input, context())).toThrow(/cannot be told/)
    expect(() => lookup.found(answer(200, {}), input, context())).toThrow(/without "Invoices"/)
  })
})

describe('a moment of Xero', () => {
  it.each([
    ['/Date(1439434356790)/', '2015-08-13T02:52:36.790Z'],
    ['/Date(1419937200000+1300)/', '2014-12-30T11:00:00.000Z'],
    ['/Date(-86400000+0000)/', '1969-12-31T00:00:00.000Z'],
    ['2015-08-13', undefined],
    [undefined, undefined],
  ])('%s is %s', (date, time) => {
    expect(timeOf(date)).toBe(time)
  })
})

describe('a poll', () => {
  it('asks for what changed, page by page, and takes each payment once', () => {
    const payment = (i: number) => ({
      PaymentID: `p-${i}`,
      Amount: 1,
      Status: 'AUTHORISED',
      UpdatedDateUTC: `/Date(${NOW + i}+0000)/`,
    })
    const all = Array.from({ length: 130 }, (_, i) => payment(i))
    const flow = defineFlow({
      name: 'payment-seen',
      on: poll(xero, changes.payments, { every: '5 min' }),
      run: () => undefined,
    })
    const played = playPoll(
      flow,
      (input) => {
        const { page = 1 } = input as { page?: number }
        return { Payments: all.slice((page - 1) * 100, page * 100) }
      },
      { now: new Date(NOW), polls: 2 },
    )
    expect(played.items.map(({ PaymentID }) => PaymentID)).toEqual(all.map(({ PaymentID }) => PaymentID))
    expect(played.refused).toEqual([])
    expect(played.asked[0]).toMatchObject({ modifiedSince: '2026-11-22T09:55:00.000Z', page: 1 })
  })
})

describe('events', () => {
  const change = (more: object = {}) => ({
    resourceUrl: 'https://api.xero.com/api.xro/2.0/Contacts/c-1',
    resourceId: 'c-1',
    tenantId: 'org-1',
    tenantType: 'ORGANISATION',
    eventCategory: 'CONTACT',
    eventType: 'UPDATE',
    eventDateUtc: '2024-06-21T01:15:39.902',
    ...more,
  })
  const read = (events: readonly JsonValue[], settings: Record<string, string> = { tenantId: 'org-1' }) =>
    eventsOf({
      body: { events: [...events], firstEventSequence: 1, lastEventSequence: 1, entropy: 'X' },
      headers: {},
      settings,
    })

  it('without ids get one of signed content, the same every time', () => {
    expect(read([change()])).toEqual([
      {
        id: 'org-1:CONTACT:c-1:UPDATE:2024-06-21T01:15:39.902',
        type: 'contact.updated',
        occurredAt: '2024-06-21T01:15:39.902Z',
        at: '/events/0',
      },
    ])
    expect(read([change()])).toEqual(read([change()]))
    expect(read([change({ eventType: 'CREATE' })])[0]!.id).not.toBe(read([change()])[0]!.id)
  })

  it('of another organisation than the connection is for are left out', () => {
    const mixed = [
      change({ tenantId: 'org-2' }),
      change(),
      change({ tenantId: 'app', tenantType: 'APPLICATION' }),
    ]
    expect(read(mixed).map(({ at }) => at)).toEqual(['/events/1'])
    expect(read(mixed, {})).toHaveLength(3)
  })

  it('that Xero adds one day pass under a name of their own', () => {
    expect(read([change({ eventCategory: 'CREDITNOTE', eventType: 'CREATE' })])[0]!.type).toBe(
      'creditnote.created',
    )
  })

  it('are none where Xero asks for the intent to receive', () => {
    expect(read([])).toEqual([])
  })

  it('of a body that is another are refused with the place', () => {
    expect(() => eventsOf({ body: [], headers: {}, settings: {} })).toThrow(/a list "events"/)
    expect(() => read([change(), { tenantId: 'org-1' }])).toThrow(/\/events\/1/)
  })
})
