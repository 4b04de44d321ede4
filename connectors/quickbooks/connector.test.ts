import { describe, expect, it } from 'vitest'
import type { JsonValue, ProviderAnswer, RequestContext } from 'trestle'
import { changedEntity, eventsOf } from './events.ts'
import { classify } from './faults.ts'
import { quickbooks } from './index.ts'
import { markerOf, quoted } from './requests.ts'

const NOW = Date.parse('2026-11-22T10:00:00Z')
const { payments, invoices, customers } = quickbooks.operations

const answer = (status: number, json?: unknown, headers: Record<string, string> = {}): ProviderAnswer => ({
  status,
  headers,
  json: json as ProviderAnswer['json'],
  text: JSON.stringify(json ?? ''),
})
const fault = (code: string, Message = 'Refused', Detail = 'Because') => ({
  Fault: { Error: [{ Message, Detail, code, element: '' }], type: 'ValidationFault' },
})
const gateway = (code: string) => ({
  fault: { error: [{ message: `errorCode=${code}`, detail: null, code, element: null }], type: 'SERVICE' },
})
const context = (idempotencyKey = 'run_1.pay.0'): RequestContext => ({
  settings: { realmId: '42' },
  idempotencyKey,
  begunAt: NOW,
})
const jsonOf = (request: { body?: object | undefined }): Record<string, unknown> => {
  if (!request.body || !('json' in request.body)) throw new Error('there is no JSON body')
  return request.body.json as Record<string, unknown>
}

describe('what an answer of QuickBooks means', () => {
  it.each([
    ['6240', 'duplicate_name'],
    ['5010', 'stale_object'],
    ['610', 'object_not_found'],
    ['6140', 'duplicate_document_number'],
    ['9999', 'fault_9999'],
  ])('fault %s has failed as %s', (code, name) => {
    expect(classify(answer(400, fault(code)), NOW)).toEqual({
      as: 'failed',
      code: name,
      reason: `Refused: Because [${code}]`,
    })
  })

  it('a fault in an answer of 200 has failed too', () => {
    expect(classify(answer(200, fault('4001')), NOW)).toMatchObject({ as: 'failed', code: 'query_invalid' })
  })

  it.each([
    ['429 without a word', 429, undefined],
    ['the gateway with leading zeros', 403, gateway('003001')],
    ['the gateway without', 429, gateway('3001')],
  ])('throttled is tried again after a minute: %s', (_how, status, json) => {
    expect(classify(answer(status, json), NOW)).toMatchObject({
      as: 'retry',
      code: 'throttled',
      retryAt: NOW + 60_000,
    })
  })

  it('Retry-After wins, in seconds or as a date', () => {
    const at = (value: string) => classify(answer(429, undefined, { 'retry-after': value }), NOW)
    expect(at('5')).toMatchObject({ retryAt: NOW + 5000 })
    expect(at('Sun, 22 Nov 2026 10:00:09 GMT')).toMatchObject({ retryAt: NOW + 9000 })
  })

  it.each([
    ['401', 401, undefined],
    ['3200', 401, gateway('3200')],
    ['120', 400, fault('120')],
  ])('the authorization is refused: %s', (_what, status, json) => {
    expect(classify(answer(status, json), NOW)).toMatchObject({ as: 'unauthorized' })
  })

  it('a known requestid without its answer is in doubt, never failed', () => {
    expect(classify(answer(400, fault('600')), NOW)).toMatchObject({ as: 'in_doubt' })
  })

  it('a server error is left to the defaults, whatever it says', () => {
    expect(classify(answer(500, fault('6000')), NOW)).toBeUndefined()
    expect(classify(answer(200, {}), NOW)).toBeUndefined()
  })
})

describe('a write', () => {
  const input = { customer: '7', amount: '19.99' }

  it('carries a requestid of at most 50 characters that is its step’s alone', () => {
    const idOf = (key: string) => String(payments.create.request(input, context(key)).query?.['requestid'])
    expect(idOf('run_1.pay.0')).toBe('run_1.pay.0')
    const [long, other] = [idOf('k'.repeat(64)), idOf(`${'k'.repeat(63)}j`)]
    expect(long.length).toBeLessThanOrEqual(50)
    expect(long).not.toBe(other)
    expect(idOf('k'.repeat(64))).toBe(long)
  })

  it('pins the schema, and names the company in its path', () => {
    const request = payments.create.request(input, context())
    expect(request.path).toBe('/v3/company/42/payment')
    expect(request.query).toMatchObject({ minorversion: '75' })
    expect(() => payments.create.request(input, { ...context(), settings: {} })).toThrow(/realmId/)
  })

  it.each(['19.99', '0.1', '-5', '9999999999.99999', '100.10'])('sends the amount %s exactly', (amount) => {
    const { TotalAmt } = jsonOf(payments.create.request({ customer: '7', amount }, context()))
    expect(JSON.stringify(TotalAmt)).toBe(amount.replace(/(\.\d*?)0+$/, '$1'))
  })

  it.each(['12345678901', '1.123456', '1e3', ' 1', '1,5', 'NaN'])(
    'refuses the amount %s, which QuickBooks cannot keep',
    async (amount) => {
      const result = await payments.create.input['~standard'].validate({ customer: '7', amount })
      expect(result.issues?.length).toBe(1)
    },
  )

  it('ends the memo with our reference, and refuses one that leaves no room', () => {
    const memoOf = (memo?: string) =>
      jsonOf(payments.create.request({ ...input, memo }, context()))['PrivateNote']
    const mark = `[${markerOf('run_1.pay.0')}]`
    expect(memoOf()).toBe(mark)
    expect(memoOf('From Stripe')).toBe(`From Stripe ${mark}`)
    expect(() => memoOf('x'.repeat(3990))).toThrow(/Shorten it/)
  })

  it('voids what it was shown, and nothing newer', () => {
    const given = { id: '9', syncToken: '3' }
    const payment = payments.void.request(given, context())
    expect(payment.query).toMatchObject({ operation: 'update', include: 'void' })
    expect(jsonOf(payment)).toEqual({ Id: '9', SyncToken: '3', sparse: true })
    const invoice = invoices.void.request(given, context())
    expect(invoice.query).toMatchObject({ operation: 'void' })
    expect(jsonOf(invoice)).toEqual({ Id: '9', SyncToken: '3' })
  })
})

describe('a look-up', () => {
  const lookupOf = (operation: typeof payments.create) => {
    const { idempotency } = operation
    if (idempotency.kind !== 'key' || !idempotency.afterLifetime) throw new Error('there is a look-up')
    return idempotency.afterLifetime
  }
  const input = { customer: "7' or Id > '0", amount: '1' }

  it('asks for the customer’s payments since the step began, with every value quoted', () => {
    const { query } = lookupOf(payments.create).request(input, context())
    expect(query?.['query']).toBe(
      String.raw`select * from Payment where CustomerRef = '7\' or Id > \'0' and MetaData.CreateTime >= '2026-11-22T09:50:00.000Z' startposition 1 maxresults 1000`,
    )
  })

  it('cannot tell from a full page without ours, or from no page', () => {
    const { found } = lookupOf(payments.create)
    const others = (count: number) => ({
      QueryResponse: { Payment: Array.from({ length: count }, () => ({ PrivateNote: 'another' })) },
    })
    expect(found(answer(200, others(999)), input, context())).toBeUndefined()
    expect(() => found(answer(200, others(1000)), input, context())).toThrow(/cannot be told/)
    expect(() => found(answer(200, {}), input, context())).toThrow(/without a QueryResponse/)
  })

  it('finds a payment that somebody voided meanwhile', () => {
    const voided = { Id: '1', PrivateNote: `Voided - From Stripe [${markerOf('run_1.pay.0')}]` }
    const page = answer(200, { QueryResponse: { Payment: [voided] } })
    expect(lookupOf(payments.create).found(page, input, context())).toEqual(voided)
  })
})

describe('a query', () => {
  it('quotes text so that it cannot end the literal', () => {
    expect(quoted("O'Neill")).toBe(String.raw`'O\'Neill'`)
    expect(quoted(String.raw`a\' or '1`)).toBe(String.raw`'a\\\' or \'1'`)
  })

  it('that finds nobody gives an empty list; an answer without a QueryResponse gives nothing', () => {
    const read = (json: unknown) => customers.findByEmail.answer?.(answer(200, json), { email: 'a@b.cd' })
    expect(read({ QueryResponse: {} })).toEqual([])
    expect(read({})).toBeUndefined()
  })

  it('that writes is refused', async () => {
    const validate = (statement: string) =>
      quickbooks.operations.query.input['~standard'].validate({ statement })
    expect((await validate('select * from Payment')).issues).toBeUndefined()
    expect((await validate('delete from Payment')).issues).toHaveLength(1)
  })
})

describe('events', () => {
  const legacy = {
    eventNotifications: [
      {
        realmId: '42',
        dataChangeEvent: {
          entities: [
            { name: 'Payment', id: '1', operation: 'Create', lastUpdated: '2015-10-05T14:42:19-0700' },
            { name: 'Payment', id: '1', operation: 'Void', lastUpdated: '2015-10-05T14:42:19-0700' },
          ],
        },
      },
      { realmId: '43', dataChangeEvent: { entities: [] } },
    ],
  }
  const cloud = [
    {
      specversion: '1.0',
      id: 'e-1',
      source: 'intuit.x',
      type: 'qbo.payment.created.v1',
      time: '2025-09-10T21:31:25.179851517Z',
      intuitentityid: '1',
      intuitaccountid: '42',
      data: {},
    },
  ]

  it('without ids get one of signed content, each its own and the same every time', () => {
    const read = () => eventsOf({ body: structuredClone(legacy), headers: {}, settings: {} })
    expect(read()).toEqual([
      {
        id: '42:Payment:1:Create:2015-10-05T14:42:19-0700',
        type: 'payment.created',
        occurredAt: '2015-10-05T21:42:19.000Z',
        at: '/eventNotifications/0/dataChangeEvent/entities/0',
      },
      {
        id: '42:Payment:1:Void:2015-10-05T14:42:19-0700',
        type: 'payment.voided',
        occurredAt: '2015-10-05T21:42:19.000Z',
        at: '/eventNotifications/0/dataChangeEvent/entities/1',
      },
    ])
    expect(read()).toEqual(read())
  })

  it('of the new format are known by source and id, and dated to the millisecond', () => {
    expect(eventsOf({ body: cloud, headers: {}, settings: {} })).toEqual([
      { id: 'intuit.x e-1', type: 'payment.created', occurredAt: '2025-09-10T21:31:25.179Z', at: '/0' },
    ])
  })

  it('say the same in both formats', () => {
    expect(changedEntity(cloud[0]!)).toMatchObject({ entity: 'payment', id: '1', operation: 'created' })
    expect(changedEntity(legacy.eventNotifications[0]!.dataChangeEvent.entities[1]!)).toMatchObject({
      entity: 'payment',
      id: '1',
      operation: 'voided',
    })
  })

  it('of another company than the connection is for are left out, in both formats', () => {
    const mixed = [
      { ...cloud[0]!, id: 'e-other', intuitaccountid: '43' },
      cloud[0]!,
      // Not for this connection to judge.
      { intuitaccountid: '43' },
    ]
    const read = (body: JsonValue, realmId: string) =>
      eventsOf({ body, headers: {}, settings: { realmId } }).map(({ at }) => at)
    expect(read(mixed, '42')).toEqual(['/1'])
    expect(read(mixed.slice(0, 2), '43')).toEqual(['/0'])
    const older = {
      eventNotifications: [
        { realmId: '43' },
        legacy.eventNotifications[0]!,
        { ...legacy.eventNotifications[0]!, realmId: '43' },
      ],
    }
    expect(read(older, '42')).toEqual([
      '/eventNotifications/1/dataChangeEvent/entities/0',
      '/eventNotifications/1/dataChangeEvent/entities/1',
    ])
    expect(read(older, '44')).toEqual([])
  })

  it('that do not say whose they are stay, for their contract to judge', () => {
    const { intuitaccountid: _gone, ...unsaid } = cloud[0]!
    expect(eventsOf({ body: [unsaid], headers: {}, settings: { realmId: '42' } })).toHaveLength(1)
  })

  it('that Intuit adds one day pass under a name of their own', () => {
    const [event] = eventsOf({
      body: [{ ...cloud[0]!, type: 'qbo.payment.unvoided.v2' }],
      headers: {},
      settings: {},
    })
    expect(event?.type).toBe('payment.unvoided')
  })

  it('that fail their contract say where', async () => {
    const { schema } = quickbooks.events['payment.created']
    const { intuitentityid: _gone, ...broken } = cloud[0]!
    const result = await schema['~standard'].validate(broken)
    expect(result.issues?.map(({ path }) => path)).toEqual([['intuitentityid']])
  })

  it.each([
    ['a body that is neither', {}, /neither/],
    ['a CloudEvent without id', [{ source: 'x', type: 'y' }], /at \/0/],
    ['a notification without a company', { eventNotifications: [{}] }, /eventNotifications\/0/],
  ])('of %s are refused with the place', (_what, body, message) => {
    expect(() => eventsOf({ body, headers: {}, settings: {} })).toThrow(message)
  })
})
