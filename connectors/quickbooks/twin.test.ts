import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createFakeClock, type FakeClock } from 'trestle/testing'
import { createQuickbooksTwin, type QuickbooksTwin } from './twin.ts'

const REALM = '9130347957983546'

interface Answered {
  status: number
  json: {
    Fault?: { Error: { code: string }[] }
    fault?: { error: { code: string }[] }
    Customer?: Made
    Payment?: Made
    Invoice?: Made
    QueryResponse?: Record<string, unknown> & { Payment?: Made[]; totalCount?: number; maxResults?: number }
    refresh_token?: string
    access_token?: string
  }
}
interface Made {
  Id: string
  SyncToken: string
  TotalAmt: number
  UnappliedAmt: number
  Balance: number
  PrivateNote?: string
}

describe('the twin of QuickBooks', () => {
  let clock: FakeClock
  let twin: QuickbooksTwin
  let token: string

  beforeEach(async () => {
    clock = createFakeClock()
    twin = createQuickbooksTwin({ clock, requestsPerMinute: 30, requestIdMs: 60_000 })
    await twin.start()
    token = twin.connectApp().accessToken
  })
  afterEach(async () => {
    if (twin.ownErrors().length > 0) throw new Error(twin.ownErrors().join('\n'))
    await twin.stop()
  })

  const call = async (method: string, path: string, body?: unknown, realm = REALM): Promise<Answered> => {
    const answer = await fetch(`${twin.url}/v3/company/${realm}${path}`, {
      method,
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    return { status: answer.status, json: (await answer.json()) as Answered['json'] }
  }
  const ask = (statement: string) => call('GET', `/query?query=${encodeURIComponent(statement)}`)
  const codeOf = ({ json }: Answered) => json.Fault?.Error[0]?.code ?? json.fault?.error[0]?.code
  const customer = async (name = 'Ada') =>
    (await call('POST', '/customer', { DisplayName: name })).json.Customer!
  const refresh = async (refreshToken: string): Promise<Answered> => {
    const answer = await fetch(twin.tokenUrl(), {
      method: 'POST',
      headers: { authorization: `Basic ${btoa('quickbooks-client:quickbooks-client-secret')}` },
      body: new URLSearchParams({ grant_type: 'refresh_token', refresh_token: refreshToken }),
    })
    return { status: answer.status, json: (await answer.json()) as Answered['json'] }
  }

  it('expires access tokens after an hour and rotates the refresh token', async () => {
    const { refreshToken, accessToken } = twin.connectApp()
    token = accessToken
    expect((await ask('select * from Customer')).status).toBe(200)
    await clock.advance(3_600_000)
    const expired = await ask('select * from Customer')
    expect([expired.status, codeOf(expired)]).toEqual([401, '3200'])
    const fresh = await refresh(refreshToken)
    expect(fresh.json).toMatchObject({ x_refresh_token_expires_in: expect.any(Number) as number })
    expect(fresh.json.refresh_token).not.toBe(refreshToken)
    token = fresh.json.access_token!
    expect((await ask('select * from Customer')).status).toBe(200)
  })

  it('lets nobody into another company', async () => {
    const answer = await call('GET', '/query?query=select', undefined, '1')
    expect([answer.status, codeOf(answer)]).toEqual([403, '3100'])
  })

  it('gives the same answer for a requestid, errors too, and forgets it after a time', async () => {
    const { Id } = await customer()
    const pay = (total: number) =>
      call('POST', '/payment?requestid=r-1', { CustomerRef: { value: Id }, TotalAmt: total })
    const first = await pay(10)
    expect(await pay(10)).toEqual(first)
    expect(codeOf(await pay(11))).toBe('600')

    const taken = () => call('POST', '/customer?requestid=r-2', { DisplayName: 'ada' })
    expect(codeOf(await taken())).toBe('6240')
    await twin.customerChanged({ id: Id, fields: { DisplayName: 'Ada the First' } })
    expect(codeOf(await taken())).toBe('6240')

    await clock.advance(60_000)
    expect((await pay(10)).json.Payment?.Id).not.toBe(first.json.Payment?.Id)
    expect((await taken()).status).toBe(200)
  })

  it('refuses a stale SyncToken and changes nothing', async () => {
    const { Id } = await customer()
    const { json } = await call('POST', '/payment', { CustomerRef: { value: Id }, TotalAmt: 10 })
    await twin.paymentChanged({ id: json.Payment!.Id, fields: { PaymentRefNum: 'x' } })
    const stale = { Id: json.Payment!.Id, SyncToken: '0', sparse: true }
    expect(codeOf(await call('POST', '/payment?operation=update&include=void', stale))).toBe('5010')
    const voided = await call('POST', '/payment?operation=update&include=void', { ...stale, SyncToken: '1' })
    expect(voided.json.Payment).toMatchObject({ TotalAmt: 0, PrivateNote: 'Voided', SyncToken: '2' })
    const again = { ...stale, SyncToken: '2' }
    expect(codeOf(await call('POST', '/payment?operation=update&include=void', again))).toBe('6000')
  })

  it('keeps the balance of an invoice through payments and their voids', async () => {
    const { Id } = await customer()
    const line = {
      Amount: 80.1,
      DetailType: 'SalesItemLineDetail',
      SalesItemLineDetail: { Qty: 3, UnitPrice: 26.7 },
    }
    const invoice = (await call('POST', '/invoice', { CustomerRef: { value: Id }, Line: [line] })).json
      .Invoice!
    const pay = (amount: number) =>
      call('POST', '/payment', {
        CustomerRef: { value: Id },
        TotalAmt: 100,
        Line: [{ Amount: amount, LinkedTxn: [{ TxnId: invoice.Id, TxnType: 'Invoice' }] }],
      })
    expect(codeOf(await pay(80.2))).toBe('6000')
    const payment = (await pay(80)).json.Payment!
    expect(payment.UnappliedAmt).toBe(20)
    const read = async () => (await call('GET', `/invoice/${invoice.Id}`)).json.Invoice!
    expect((await read()).Balance).toBe(0.1)
    expect(codeOf(await call('POST', '/invoice?operation=void', await read()))).toBe('6000')
    await twin.paymentVoided({ id: payment.Id })
    expect((await read()).Balance).toBe(80.1)
    expect((await call('POST', '/invoice?operation=void', await read())).json.Invoice).toMatchObject({
      TotalAmt: 0,
      Balance: 0,
    })
  })

  it.each([
    ['a customer that is not there', { CustomerRef: { value: '99' }, TotalAmt: 1 }, '2500'],
    ['no customer', { TotalAmt: 1 }, '2020'],
    ['no amount', { CustomerRef: { value: '1' } }, '2020'],
    ['another currency', { CustomerRef: { value: '1' }, TotalAmt: 1, CurrencyRef: { value: 'EUR' } }, '6000'],
  ])('refuses a payment with %s', async (_what, body, code) => {
    await customer()
    expect(codeOf(await call('POST', '/payment', body))).toBe(code)
    expect(twin.state.entities.Payment.size).toBe(0)
  })

  it('refuses an invoice whose sum or number is wrong', async () => {
    const { Id } = await customer()
    const make = (more: object, detail: object = {}) =>
      call('POST', '/invoice', {
        CustomerRef: { value: Id },
        Line: [{ Amount: 10, DetailType: 'SalesItemLineDetail', SalesItemLineDetail: detail }],
        ...more,
      })
    expect(codeOf(await make({}, { Qty: 3, UnitPrice: 3 }))).toBe('6070')
    expect((await make({ DocNumber: 'A-1' })).status).toBe(200)
    expect(codeOf(await make({ DocNumber: 'A-1' }))).toBe('6140')
  })

  it('answers queries: conditions, order, pages, counts', async () => {
    const { Id } = await customer()
    const other = await customer("O'Neill")
    for (const total of [1, 2, 3])
      await call('POST', '/payment', { CustomerRef: { value: Id }, TotalAmt: total })
    const totals = async (rest: string) =>
      (await ask(`select * from Payment ${rest}`)).json.QueryResponse!.Payment?.map(
        ({ TotalAmt }) => TotalAmt,
      )
    expect(await totals(`where CustomerRef = '${Id}' and TotalAmt >= '2' orderby TotalAmt desc`)).toEqual([
      3, 2,
    ])
    expect(await totals('startposition 2 maxresults 1')).toEqual([2])
    expect(await totals("where TotalAmt in ('1', '3')")).toEqual([1, 3])
    expect((await ask(`select * from Payment where CustomerRef = '${other.Id}'`)).json.QueryResponse).toEqual(
      {},
    )
    expect((await ask('select count(*) from Payment')).json.QueryResponse).toEqual({ totalCount: 3 })
    const named = await ask(String.raw`select * from Customer where DisplayName = 'O\'Neill'`)
    expect(named.json.QueryResponse?.['Customer']).toHaveLength(1)
    const recent = `select * from Payment where MetaData.CreateTime >= '${new Date(clock.now()).toISOString()}'`
    expect((await ask(recent)).json.QueryResponse?.maxResults).toBe(3)
  })

  it.each([
    "select * from Payment where PrivateNote = 'x'",
    "select * from Payment where TotalAmt = '1' or TotalAmt = '2'",
    'select * from Nothing',
    'drop everything',
  ])('refuses the query %s', async (statement) => {
    expect(codeOf(await ask(statement))).toBe('4001')
  })

  it('throttles in the words of the gateway', async () => {
    for (let i = 0; i < 30; i++) await ask('select * from Payment')
    const answer = await ask('select * from Payment')
    expect([answer.status, codeOf(answer)]).toEqual([429, '3001'])
    await clock.advance(60_000)
    expect((await ask('select * from Payment')).status).toBe(200)
  })

  it('notes an effect for what was done, by what people know it by, and none for what was refused', async () => {
    const { Id } = await customer()
    await call('POST', '/payment', { CustomerRef: { value: Id }, TotalAmt: 10, PaymentRefNum: 'pi_1' })
    await call('POST', '/payment?requestid=q', {
      CustomerRef: { value: Id },
      TotalAmt: 10,
      PrivateNote: 'Deposit [ref trestle-1]',
    })
    await call('POST', '/payment', { CustomerRef: { value: 'x' }, TotalAmt: 10 })
    expect(twin.effects().map(({ kind, key }) => [kind, key])).toEqual([
      ['customer.created', 'Ada'],
      ['payment.created', 'pi_1'],
      ['payment.created', 'Deposit'],
    ])
  })
})
