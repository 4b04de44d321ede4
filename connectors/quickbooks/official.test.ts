/** node-quickbooks 2.0.50 as the witness: it and our connector must see the same twin. */
import { createRequire } from 'node:module'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { startSubject, type Subject } from '../../tests/conformance/suite.ts'
import { quickbooks, type Customer, type Invoice, type Payment } from './index.ts'
import { createQuickbooksTwin, type QuickbooksTwin } from './twin.ts'

/** The part of the client that we use; it has no types of its own. */
interface Client {
  endpoint: string
  refreshToken: string
  createCustomer(fields: object, done: Done): void
  createPayment(fields: object, done: Done): void
  createInvoice(fields: object, done: Done): void
  getCustomer(id: string, done: Done): void
  getPayment(id: string, done: Done): void
  getInvoice(id: string, done: Done): void
  getCompanyInfo(id: string, done: Done): void
  updateCustomer(fields: object, done: Done): void
  voidPayment(fields: object, done: Done): void
  voidInvoice(fields: object, done: Done): void
  findPayments(criteria: object, done: Done): void
  refreshAccessToken(done: Done): void
}
type Done = (error: unknown, data: unknown) => void
type ClientClass = (new (...options: unknown[]) => Client) & { TOKEN_URL: string }

const QuickBooks = createRequire(import.meta.url)('node-quickbooks') as ClientClass

describe('node-quickbooks and the connector', () => {
  let subject: Subject<QuickbooksTwin>
  let client: Client

  beforeEach(async () => {
    subject = await startSubject({
      connector: quickbooks,
      folder: new URL('.', import.meta.url),
      twin: (clock) => createQuickbooksTwin({ clock }),
      settings: { realmId: '9130347957983546' },
      authorize: (twin) => ({ authorization: `Bearer ${twin.oauth.grants()[0]!.accessToken}` }),
      samples: {},
    })
    const { accessToken, refreshToken } = subject.twin.connectApp()
    client = new QuickBooks(
      'quickbooks-client',
      'quickbooks-client-secret',
      accessToken,
      false,
      subject.twin.realmId,
      true,
      false,
      null,
      '2.0',
      refreshToken,
    )
    client.endpoint = `${subject.twin.url}/v3/company/`
  })
  afterEach(async () => {
    if (subject.twin.ownErrors().length > 0) throw new Error(subject.twin.ownErrors().join('\n'))
    await subject.stop()
  })

  const theirs = <T>(act: (done: Done) => void): Promise<T> =>
    new Promise((resolve, reject) => {
      act((error, data) => (error ? reject(error) : resolve(data as T)))
    })
  const ours = async <T>(operation: string, input: unknown, key?: string): Promise<T> => {
    const called = await subject.call(operation, input, key === undefined ? {} : { key })
    expect(called.classification).toEqual({ as: 'succeeded' })
    return (await called.output()) as T
  }

  it('read the same customer, payment, invoice and company', async () => {
    const customer = await theirs<Customer>((done) => client.createCustomer({ DisplayName: 'Ada' }, done))
    expect(await ours('customers.retrieve', { id: customer.Id })).toEqual(customer)

    const payment = await ours<Payment>('payments.create', { customer: customer.Id, amount: '19.99' })
    expect(await theirs((done) => client.getPayment(payment.Id, done))).toEqual(payment)
    expect(await ours('payments.retrieve', { id: payment.Id })).toEqual(payment)

    const invoice = await ours<Invoice>('invoices.create', {
      customer: customer.Id,
      lines: [{ amount: '80' }],
    })
    expect(await theirs((done) => client.getInvoice(invoice.Id, done))).toEqual(invoice)

    const { realmId } = subject.twin
    expect(await theirs((done) => client.getCompanyInfo(realmId, done))).toEqual(
      await ours('company.retrieve', {}),
    )
  })

  it('are recognised by requestid alike', async () => {
    const { Id } = await subject.twin.customerCreated({ DisplayName: 'Ada' })
    const fields = { CustomerRef: { value: Id }, TotalAmt: 5 }
    const pay = () => theirs<Payment>((done) => client.createPayment({ ...fields, requestId: 'r-1' }, done))
    expect((await pay()).Id).toBe((await pay()).Id)
    const mine = () => ours<Payment>('payments.create', { customer: Id, amount: '5' }, 'k-1')
    expect((await mine()).Id).toBe((await mine()).Id)
    expect(subject.twin.effects().filter(({ kind }) => kind === 'payment.created')).toHaveLength(2)
  })

  it('void by the same request', async () => {
    const { Id } = await subject.twin.customerCreated({ DisplayName: 'Ada' })
    const pay = () => subject.twin.paymentCreated({ CustomerRef: { value: Id }, TotalAmt: 5 })
    const bill = () =>
      subject.twin.invoiceCreated({
        CustomerRef: { value: Id },
        Line: [{ Amount: 5, DetailType: 'SalesItemLineDetail', SalesItemLineDetail: {} }],
      })
    for (const [kind, make] of [
      ['payment', pay],
      ['invoice', bill],
    ] as const) {
      const [one, two] = [await make(), await make()]
      const mine = await ours<Payment>(`${kind}s.void`, { id: one.Id, syncToken: one.SyncToken })
      const given = { Id: two.Id, SyncToken: two.SyncToken }
      const other = await theirs<Record<string, Payment>>((done) =>
        kind === 'payment' ? client.voidPayment(given, done) : client.voidInvoice(given, done),
      )
      const voided = (other as { Invoice?: Payment }).Invoice ?? (other as unknown as Payment)
      expect({ ...voided, Id: one.Id, DocNumber: mine['DocNumber'] }).toEqual({
        ...mine,
        DocNumber: mine['DocNumber'],
      })
      const [first, second] = subject.twin.requests().slice(-2)
      const wanted = (query: string) => {
        const { operation, include } = Object.fromEntries(new URLSearchParams(query))
        return { operation, include }
      }
      expect(second!.path).toBe(first!.path)
      expect(wanted(second!.query)).toEqual(wanted(first!.query))
    }
  })

  it('query the same', async () => {
    const { Id } = await subject.twin.customerCreated({ DisplayName: "O'Neill" })
    for (const TotalAmt of [1, 2]) await subject.twin.paymentCreated({ CustomerRef: { value: Id }, TotalAmt })
    const found = await theirs<{ QueryResponse: object }>((done) =>
      client.findPayments({ CustomerRef: Id, limit: 10 }, done),
    )
    const statement = `select * from Payment where CustomerRef = '${Id}' startposition 1 maxresults 10`
    expect(await ours('query', { statement })).toEqual(found.QueryResponse)
  })

  it('are refused the same: a taken name, a stale object, a missing one, a bad token', async () => {
    const { Id } = await subject.twin.customerCreated({ DisplayName: 'Ada' })
    const payment = await subject.twin.paymentCreated({ CustomerRef: { value: Id }, TotalAmt: 5 })
    await subject.twin.paymentChanged({ id: payment.Id, fields: { PaymentRefNum: '1' } })
    const refusals = [
      {
        theirs: (done: Done) => client.createCustomer({ DisplayName: 'ADA' }, done),
        ours: () => subject.call('customers.create', { displayName: 'ADA' }),
        code: '6240',
        name: 'duplicate_name',
      },
      {
        theirs: (done: Done) => client.voidPayment({ Id: payment.Id, SyncToken: '0' }, done),
        ours: () => subject.call('payments.void', { id: payment.Id, syncToken: '0' }),
        code: '5010',
        name: 'stale_object',
      },
      {
        theirs: (done: Done) => client.getInvoice('999', done),
        ours: () => subject.call('invoices.retrieve', { id: '999' }),
        code: '610',
        name: 'object_not_found',
      },
    ]
    for (const refusal of refusals) {
      await expect(theirs(refusal.theirs)).rejects.toMatchObject({
        response: { data: { Fault: { Error: [{ code: refusal.code }] } } },
      })
      expect((await refusal.ours()).classification).toMatchObject({ as: 'failed', code: refusal.name })
    }
    subject.twin.oauth.expireAccessTokens()
    await expect(theirs((done) => client.getCustomer(Id, done))).rejects.toMatchObject({
      response: { status: 401 },
    })
    expect((await subject.call('customers.retrieve', { id: Id })).classification.as).toBe('unauthorized')
  })

  it('refresh tokens at the twin, which rotates them', async () => {
    const tokenUrl = QuickBooks.TOKEN_URL
    const { refreshToken } = client
    subject.twin.oauth.expireAccessTokens()
    QuickBooks.TOKEN_URL = subject.twin.tokenUrl()
    try {
      await theirs((done) => client.refreshAccessToken(done))
    } finally {
      QuickBooks.TOKEN_URL = tokenUrl
    }
    expect(client.refreshToken).not.toBe(refreshToken)
    const { Id } = await subject.twin.customerCreated({ DisplayName: 'Ada' })
    expect(await theirs((done) => client.getCustomer(Id, done))).toMatchObject({ DisplayName: 'Ada' })
  })
})
