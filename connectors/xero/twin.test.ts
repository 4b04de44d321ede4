import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createFakeClock, type FakeClock } from 'trestle/testing'
import { createXeroTwin, type XeroTwin } from './twin.ts'

const MINUTE = 60_000

interface Body {
  Type?: string
  Elements?: { ValidationErrors: { Message: string }[] }[]
  Contacts?: Record<string, unknown>[]
  Invoices?: Record<string, unknown>[]
  Payments?: Record<string, unknown>[]
  access_token?: string
  refresh_token?: string
  expires_in?: number
  error?: string
}

describe('the twin of Xero', () => {
  let clock: FakeClock
  let twin: XeroTwin
  let token: string

  beforeEach(async () => {
    clock = createFakeClock()
    twin = createXeroTwin({ clock })
    await twin.start()
    token = twin.connectApp().accessToken
  })
  afterEach(async () => {
    if (twin.ownErrors().length > 0) throw new Error(twin.ownErrors().join('\n'))
    await twin.stop()
  })

  const call = async (
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<{ status: number; headers: Headers; json: Body }> => {
    const answer = await fetch(`${twin.url}/api.xro/2.0${path}`, {
      method,
      headers: {
        authorization: `Bearer ${token}`,
        'content-type': 'application/json',
        'xero-tenant-id': twin.tenantId,
        ...headers,
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    const text = await answer.text()
    const json = (text.startsWith('{') ? JSON.parse(text) : {}) as Body
    return { status: answer.status, headers: answer.headers, json }
  }
  const refusalOf = ({ json }: { json: Body }) => json.Elements?.[0]?.ValidationErrors[0]?.Message
  const refresh = async (refreshToken: string): Promise<Body & { status: number }> => {
    const answer = await fetch(twin.tokenUrl(), {
      method: 'POST',
      headers: { authorization: `Basic ${btoa('xero-client:xero-client-secret')}` },
      body: new URLSearchParams({ grant_type: 'refresh_token', refresh_token: refreshToken }),
    })
    return { status: answer.status, ...((await answer.json()) as Body) }
  }
  const invoice = async (Status = 'AUTHORISED') => {
    const contact = await twin.contactCreated({ Name: `Ada ${twin.requestCount()}` })
    return twin.invoiceCreated({
      Contact: { ContactID: contact['ContactID'] },
      Status,
      DueDate: '2026-12-22',
      LineItems: [{ Description: 'Treatment', Quantity: 3, UnitAmount: 0.1, AccountCode: '200' }],
    })
  }

  it('gives access tokens for 30 minutes, and refresh tokens that are good once', async () => {
    const { refreshToken } = twin.oauth.grants()[0]!
    const first = await refresh(refreshToken)
    expect(first).toMatchObject({ status: 200, expires_in: 1800 })
    expect(first.refresh_token).not.toBe(refreshToken)
    expect(await refresh(refreshToken)).toMatchObject({ status: 400, error: 'invalid_grant' })
    token = first.access_token!
    expect((await call('GET', '/Organisation')).status).toBe(200)
    await clock.advance(30 * MINUTE)
    expect((await call('GET', '/Organisation')).status).toBe(401)
    await clock.advance(61 * 24 * 60 * MINUTE)
    expect(await refresh(first.refresh_token!)).toMatchObject({ status: 400, error: 'invalid_grant' })
  })

  it('refuses an organisation that is not connected, and none', async () => {
    expect((await call('GET', '/Contacts', undefined, { 'xero-tenant-id': 'another' })).status).toBe(403)
    expect((await call('GET', '/Contacts', undefined, { 'xero-tenant-id': '' })).status).toBe(403)
  })

  it('lets 60 requests through in a minute, and says what is left and when to come again', async () => {
    const first = await call('GET', '/Organisation')
    expect(first.headers.get('x-minlimit-remaining')).toBe('59')
    expect(first.headers.get('x-daylimit-remaining')).toBe('4999')
    for (let i = 1; i < 60; i++) await call('GET', '/Organisation')
    await clock.advance(20_000)
    const refused = await call('GET', '/Organisation')
    expect(refused.status).toBe(429)
    expect(refused.headers.get('retry-after')).toBe('40')
    expect(refused.headers.get('x-rate-limit-problem')).toBe('minute')
    await clock.advance(40_000)
    expect((await call('GET', '/Organisation')).status).toBe(200)
  })

  it('remembers a key for six minutes, with its refusals, and only for the same request', async () => {
    const key = { 'idempotency-key': 'k' }
    const create = (Name: string) => call('PUT', '/Contacts', { Contacts: [{ Name }] }, key)
    const idOf = (answered: { json: Body }) => answered.json.Contacts?.[0]?.['ContactID']
    const first = await create('Ada')
    expect(idOf(await create('Ada'))).toBe(idOf(first))
    expect((await create('Grace')).status).toBe(400)
    await clock.advance(6 * MINUTE)
    expect(refusalOf(await create('Ada'))).toMatch(/already assigned/)
    expect(refusalOf(await create('Ada'))).toMatch(/already assigned/)
    expect(twin.effects()).toHaveLength(1)
  })

  it('keeps names of active contacts and numbers of customers’ invoices unique', async () => {
    const contact = await twin.contactCreated({ Name: 'Ada' })
    const again = () => call('PUT', '/Contacts', { Contacts: [{ Name: 'ADA' }] })
    expect(refusalOf(await again())).toMatch(/already assigned/)
    const bill = () =>
      call('PUT', '/Invoices', {
        Invoices: [
          {
            Type: 'ACCREC',
            Contact: { ContactID: contact['ContactID'] },
            InvoiceNumber: 'A-1',
            LineItems: [{ Description: 'Treatment', UnitAmount: 1 }],
          },
        ],
      })
    expect((await bill()).status).toBe(200)
    expect(refusalOf(await bill())).toBe('Invoice # must be unique.')
    await twin.contactArchived({ id: String(contact['ContactID']) })
    expect((await again()).status).toBe(200)
  })

  it('pays, takes back, and voids only what is authorised and unpaid', async () => {
    const { InvoiceID } = await invoice()
    const pay = (Amount: number) =>
      call('PUT', '/Payments', { Payments: [{ Invoice: { InvoiceID }, Account: { Code: '090' }, Amount }] })
    const change = (Status: string) => call('POST', `/Invoices/${String(InvoiceID)}`, { Status })
    const seen = async () => (await call('GET', `/Invoices/${String(InvoiceID)}`)).json.Invoices![0]!
    expect(refusalOf(await pay(0.31))).toMatch(/exceeds/)
    const payment = (await pay(0.1)).json.Payments![0]!
    expect(await seen()).toMatchObject({ Total: 0.3, AmountPaid: 0.1, AmountDue: 0.2, Status: 'AUTHORISED' })
    expect(refusalOf(await change('VOIDED'))).toMatch(/payment/)
    await call('POST', `/Payments/${String(payment['PaymentID'])}`, { Status: 'DELETED' })
    expect(await seen()).toMatchObject({ AmountPaid: 0, AmountDue: 0.3 })
    expect((await change('VOIDED')).status).toBe(200)
    expect(refusalOf(await change('VOIDED'))).toMatch(/not of valid status/)
    expect(refusalOf(await pay(0.1))).toMatch(/Authorised/)
  })

  it('deletes drafts and does not void them', async () => {
    const { InvoiceID } = await invoice('DRAFT')
    const change = (Status: string) => call('POST', `/Invoices/${String(InvoiceID)}`, { Status })
    expect(refusalOf(await change('VOIDED'))).toMatch(/not of valid status/)
    expect((await change('DELETED')).status).toBe(200)
  })

  it('refuses a filter that it does not know', async () => {
    const where = encodeURIComponent('Name.Contains("A")')
    expect(await call('GET', `/Contacts?where=${where}`)).toMatchObject({
      status: 400,
      json: { Type: 'QueryParseException' },
    })
  })
})
