import { afterEach, describe, expect, it } from 'vitest'
import {
  ACCEPTED,
  bench,
  BODY,
  closeBenches,
  PATH,
  PUBLIC_URL,
  SECRET,
  send,
  signedHeaders,
  until,
} from '../../tests/support/webhookBench.ts'
import { turn } from '../base/index.ts'
import { signatureSchemes, type IncomingDelivery, type IncomingEvent } from '../define/index.ts'
import type { AcceptResult } from '../inbox/index.ts'
import { signPayload } from './sign.ts'

afterEach(closeBenches)

describe('a good delivery', () => {
  it('is handed over raw and read, and answered with an empty 200', async () => {
    const here = await bench()
    const answer = await send(here, {
      headers: [
        ...signedHeaders(here),
        ['Authorization', 'Bearer x'],
        ['cookie', 'a=b'],
        ['X-Twice', '1'],
        ['X-Twice', '2'],
      ],
    })
    expect(answer).toMatchObject({ status: 200, body: '' })
    expect(answer.headers).toMatchObject({ 'content-length': '0' })
    expect(answer.headers['set-cookie']).toBeUndefined()
    expect(here.rejected).toEqual([])
    expect(here.accepted).toHaveLength(1)
    const [delivery] = here.accepted
    expect(delivery).toMatchObject({
      tenant: 'default',
      endpointId: 'ep_1',
      connectionId: 'con_1',
      connectionName: 'stripe',
      contentType: 'application/json',
      receivedAt: here.clock.now(),
      parsed: JSON.parse(BODY) as unknown,
      events: [{ id: 'evt_1', type: 'payment.succeeded', at: '/data' }],
      contentUnique: true,
    })
    expect(delivery!.body.toString()).toBe(BODY)
    expect(delivery!.quarantine).toBeUndefined()
    const names = delivery!.headers.map(([name]) => name)
    expect(names).toContain('stripe-signature')
    expect(names.filter((name) => name === 'X-Twice')).toHaveLength(2)
    expect(names.map((name) => name.toLowerCase())).not.toContain('authorization')
    expect(names).not.toContain('cookie')
  })

  it('is answered with 200 when it is a duplicate too', async () => {
    const here = await bench({ accept: () => Promise.resolve({ state: 'duplicate', deliveryId: 'dlv_1' }) })
    expect(await send(here)).toMatchObject({ status: 200, body: '' })
  })

  it('is not answered before accept has resolved', async () => {
    const order: string[] = []
    let commit = (_result: AcceptResult): void => {}
    const here = await bench({
      accept: () => {
        order.push('accept')
        return new Promise((resolve) => (commit = resolve))
      },
    })
    const answered = send(here).then(({ status }) => order.push(String(status)))
    await until(() => order.length > 0)
    for (let i = 0; i < 50; i++) await turn()
    order.push('commit')
    commit(ACCEPTED)
    await answered
    expect(order).toEqual(['accept', 'commit', '200'])
  })

  it('keeps numbers beyond 2^53, surrogates and \\u0000', async () => {
    const here = await bench()
    const body = '{"id":"e","type":"t","data":{"n":9007199254740993,"s":"\\ud800\\u0000"}}'
    expect(await send(here, { body })).toMatchObject({ status: 200 })
    expect(here.accepted[0]!.parsed).toMatchObject({ data: { n: 9_007_199_254_740_993n, s: '\ud800\u0000' } })
  })

  it('may be a form, whose repeated fields become lists', async () => {
    const here = await bench({
      webhooks: {
        signature: signatureSchemes.twilio,
        contentTypes: ['application/x-www-form-urlencoded'],
        contentUniqueBy: 'MessageSid',
        events: ({ body, headers }) => [
          { type: `${(body as { Status: string }).Status} ${headers['x-extra']}`, at: '' },
        ],
      },
    })
    const body = 'Status=sent&MediaUrl=a&MediaUrl=b%20c&MessageSid=SM1&constructor=x'
    const payload = {
      url: `${PUBLIC_URL}?x=1`,
      body,
      at: here.clock.now(),
      contentType: 'application/x-www-form-urlencoded',
    }
    const { headers } = signPayload(signatureSchemes.twilio, payload, [SECRET])
    const sending = {
      body,
      path: `${PATH}?x=1`,
      headers: [...Object.entries(headers), ['X-Extra', 'a'], ['x-extra', 'b']] as [string, string][],
    }
    expect(await send(here, sending)).toMatchObject({ status: 200 })
    expect(here.accepted[0]).toMatchObject({
      parsed: { Status: 'sent', MediaUrl: ['a', 'b c'], MessageSid: 'SM1', constructor: 'x' },
      events: [{ type: 'sent a, b', at: '' }],
      contentUnique: true,
    })
    expect(await send(here, { ...sending, path: `${PATH}?x=2` })).toMatchObject({ status: 401 })
  })

  it("holds the events that the connector takes by the connection's settings", async () => {
    const here = await bench({
      webhooks: {
        events: ({ body, settings }) => {
          const { account, id } = body as { account: string; id: string }
          return account === settings['account'] ? [{ id, type: 'made', at: '' }] : []
        },
      },
    })
    for (const account of ['acct_1', 'acct_2'])
      expect(await send(here, { body: `{"id":"1","account":"${account}"}` })).toMatchObject({ status: 200 })
    expect(here.accepted.map(({ events }) => events.length)).toEqual([1, 0])
  })

  it('needs no signature where the connector says so', async () => {
    const here = await bench({
      webhooks: { signature: 'none' },
      secrets: () => Promise.reject(new Error('no')),
    })
    expect(
      await send(here, { headers: [['content-type', 'application/json; charset=utf-8']] }),
    ).toMatchObject({
      status: 200,
    })
  })

  it('is not content-unique where the named value is missing, empty or not named', async () => {
    for (const contentUniqueBy of ['data.nothing', 'empty', 'constructor', undefined]) {
      const here = await bench({ webhooks: { contentUniqueBy } })
      await send(here, { body: '{"id":"e","type":"t","empty":"","data":{}}' })
      expect(here.accepted[0]!.contentUnique).toBe(false)
    }
  })
})

describe('a body that is not what the provider documents, with a good signature', () => {
  const broken: readonly (readonly [string, string | Buffer, string, string])[] = [
    ['malformed JSON', '{"id":', 'json_malformed', ''],
    ['an empty body', '', 'json_malformed', ''],
    ['a duplicate key', '{"id":"a","type":"t","id":"b"}', 'json_duplicate_key', '/id'],
    ['__proto__', '{"data":{"__proto__":{"admin":true}}}', 'json_proto_key', '/data/__proto__'],
    ['deep JSON', '['.repeat(100_000), 'json_malformed', ''],
    ['deep but whole JSON', '['.repeat(200) + ']'.repeat(200), 'json_too_deep', ''],
    ['bytes that are no UTF-8', Buffer.from([0x22, 0xff, 0x22]), 'json_not_utf8', ''],
    ['null', 'null', 'events_unreadable', ''],
  ]
  it.each(broken)('%s is accepted raw, quarantined', async (_what, body, code, path) => {
    const here = await bench()
    expect(await send(here, { body })).toMatchObject({ status: 200 })
    expect(here.accepted[0]).toMatchObject({ events: [], contentUnique: false, quarantine: { code, path } })
    expect(here.accepted[0]!.quarantine!.reason).not.toBe('')
    expect(here.accepted[0]!.body).toEqual(Buffer.from(body))
    expect(({} as { admin?: boolean }).admin).toBeUndefined()
  })

  const wrong: readonly (readonly [string, () => unknown, RegExp])[] = [
    ['a promise that is rejected', () => Promise.reject(new Error('late')), /promise/],
    ['nothing', () => undefined, /list/],
    ['an event that is null', () => [null], /event 1.*object/],
    ['an event without type', () => [{ at: '' }], /event 1.*type/],
    ['an id that is a number', () => [{ type: 't', at: '', id: 7 }], /event 1.*id/],
    [
      'a dotted path',
      () => [
        { type: 't', at: '' },
        { type: 't', at: 'data' },
      ],
      /event 2.*JSON Pointer/,
    ],
  ]
  it.each(wrong)("a connector's events() that returns %s quarantines", async (_what, returned, reason) => {
    const here = await bench({ webhooks: { events: returned as () => readonly IncomingEvent[] } })
    expect(await send(here)).toMatchObject({ status: 200 })
    expect(here.accepted[0]!.quarantine).toMatchObject({
      code: 'events_invalid',
      reason: expect.stringMatching(reason) as string,
    })
  })

  it.each([
    ['an Error', new Error('no entities'), 'no entities'],
    ['a string', 'no entities', 'no entities'],
    ['nothing', undefined, 'a value that is no Error was thrown: undefined'],
  ])(
    "a connector's events() that throws %s quarantines, with what was read",
    async (_what, thrown, reason) => {
      const here = await bench({
        webhooks: {
          events: (_delivery: IncomingDelivery) => {
            throw thrown
          },
        },
      })
      expect(await send(here)).toMatchObject({ status: 200 })
      expect(here.accepted[0]).toMatchObject({
        parsed: JSON.parse(BODY) as unknown,
        quarantine: { code: 'events_unreadable', path: '', reason },
      })
    },
  )

  it.each([
    ['a=%zz', 'form_malformed', ''],
    ['a=%ff', 'form_malformed', ''],
    ['__proto__=1&a=2', 'form_proto_key', '/__proto__'],
    ['a=1&'.repeat(1001), 'form_too_many_fields', ''],
  ])('the form %.20s is accepted raw, quarantined', async (body, code, path) => {
    const here = await bench({
      webhooks: { signature: 'none', contentTypes: ['application/x-www-form-urlencoded'] },
    })
    const headers = [['content-type', 'application/x-www-form-urlencoded']] as const
    expect(await send(here, { body, headers })).toMatchObject({ status: 200 })
    expect(here.accepted[0]!.quarantine).toMatchObject({ code, path })
  })
})

describe('a provider that puts a secret in the URL and asks for it with GET', () => {
  const webhooks = {
    signature: { kind: 'url_secret', name: 'acme', query: 'secret', source: 'a test' },
    setUpByGet: true,
  } as const

  it('gets 200 for the secret, and nothing is stored', async () => {
    const here = await bench({ webhooks })
    expect(await send(here, { method: 'GET', path: `${PATH}?secret=${SECRET}`, body: '' })).toMatchObject({
      status: 200,
      body: '',
    })
    expect(here.accepted).toEqual([])
    expect(here.rejected).toEqual([])
  })

  it('gets 401 without it or with another, also when it asks only', async () => {
    const here = await bench({ webhooks })
    for (const method of ['GET', 'POST'])
      for (const query of ['', '?secret=', '?secret=whsec_tesT', `?secret=${SECRET}&secret=${SECRET}`])
        expect(
          await send(here, { method, path: PATH + query, body: method === 'GET' ? '' : BODY }),
        ).toMatchObject({
          status: 401,
        })
    expect(here.accepted).toEqual([])
    expect(here.rejected.map(({ code }) => code)).toContain('signature_invalid')
  })

  it('has its deliveries taken with any of the secrets, which stand in nothing that is kept', async () => {
    const here = await bench({ webhooks, secrets: () => Promise.resolve(['newer', SECRET]) })
    for (const secret of ['newer', SECRET])
      expect(await send(here, { path: `${PATH}?secret=${secret}`, body: BODY })).toMatchObject({
        status: 200,
      })
    expect(here.accepted).toHaveLength(2)
    for (const { connector: _connector, ...kept } of here.accepted)
      expect(
        JSON.stringify(kept, (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value)),
      ).not.toContain(SECRET)
  })

  it('is answered 405 for GET where the connector does not say that it asks', async () => {
    const here = await bench({ webhooks: { signature: webhooks.signature } })
    expect(await send(here, { method: 'GET', path: `${PATH}?secret=${SECRET}`, body: '' })).toMatchObject({
      status: 405,
    })
  })

  it('that forgot its secret is our fault, and is told to come again', async () => {
    const here = await bench({ webhooks, secrets: () => Promise.resolve([]) })
    expect(await send(here, { path: `${PATH}?secret=x`, body: BODY })).toMatchObject({ status: 503 })
  })
})
