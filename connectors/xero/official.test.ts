/** The official client, xero-node 20.0.0, as the witness: it and our connector must see the same twin. */
import { AccountingApi, type Contact, type Invoice, type Payment } from 'xero-node'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { startSubject, type Subject } from '../../tests/conformance/suite.ts'
import {
  timeOf,
  xero,
  type Contact as OurContact,
  type Invoice as OurInvoice,
  type Payment as OurPayment,
} from './index.ts'
import { createXeroTwin, type XeroTwin } from './twin.ts'

const TENANT = 'c2cc9b6e-9458-4c7d-93cc-f02b81b0594f'

/** Their names begin in lower case and their dates are Dates; ours stay as they came. */
function asTheirs(value: unknown): unknown {
  if (typeof value === 'string') return timeOf(value) ?? value
  if (Array.isArray(value)) return value.map(asTheirs)
  if (value === null || typeof value !== 'object') return value
  return Object.fromEntries(
    Object.entries(value).map(([name, one]) => [name[0]!.toLowerCase() + name.slice(1), asTheirs(one)]),
  )
}
/** What their client gives, without what it has no word for. */
const plain = (value: unknown): Record<string, unknown> =>
  JSON.parse(JSON.stringify(value)) as Record<string, unknown>

describe('xero-node and the connector', () => {
  let subject: Subject<XeroTwin>
  let client: AccountingApi

  beforeEach(async () => {
    subject = await startSubject({
      connector: xero,
      folder: new URL('.', import.meta.url),
      twin: (clock) => createXeroTwin({ clock, tenantId: TENANT }),
      settings: { tenantId: TENANT },
      authorize: (twin) => ({ authorization: `Bearer ${twin.oauth.grants()[0]!.accessToken}` }),
      samples: {},
    })
    client = new AccountingApi(`${subject.twin.url}/api.xro/2.0`)
    client.accessToken = subject.twin.connectApp().accessToken
  })
  afterEach(async () => {
    if (subject.twin.ownErrors().length > 0) throw new Error(subject.twin.ownErrors().join('\n'))
    await subject.stop()
  })

  const ours = async <T>(operation: string, input: unknown, key?: string): Promise<T> => {
    const called = await subject.call(operation, input, key === undefined ? {} : { key })
    expect(called.classification).toEqual({ as: 'succeeded' })
    return (await called.output()) as T
  }
  const makeInvoice = (contact: string) =>
    ours<OurInvoice>('invoices.create', {
      contact,
      lines: [{ description: 'Treatment', quantity: '2', unitAmount: '40.1234', accountCode: '200' }],
      status: 'AUTHORISED',
      dueDate: '2026-12-22',
    })

  it('read the same organisation, contact, invoice and payment', async () => {
    const organisation = await ours('organisation.retrieve', {})
    const theirs = (await client.getOrganisations(TENANT)).body.organisations![0]
    expect(asTheirs(organisation)).toMatchObject(plain(theirs))

    const contact = await ours<OurContact>('contacts.create', { name: 'Ada', email: 'ada@example.com' })
    const { contacts } = (await client.getContact(TENANT, contact.ContactID)).body
    expect(asTheirs(contact)).toMatchObject(plain(contacts![0]))
    expect(contacts![0]!.contactNumber).toBe(contact.ContactNumber)

    const made = await makeInvoice(contact.ContactID)
    const invoice = (await client.getInvoice(TENANT, made.InvoiceID)).body.invoices![0]!
    expect(invoice).toMatchObject({ invoiceID: made.InvoiceID, total: 80.25, reference: made.Reference })
    expect(invoice.lineItems![0]).toMatchObject({ unitAmount: 40.1234, lineAmount: 80.25 })
    expect(plain(invoice.updatedDateUTC)).toBe(timeOf(made.UpdatedDateUTC))

    const paid = await ours<OurPayment>('payments.create', {
      invoice: made.InvoiceID,
      amount: '80.25',
      accountCode: '090',
    })
    const payment = (await client.getPayment(TENANT, paid.PaymentID)).body.payments![0]!
    expect(asTheirs(paid)).toMatchObject({ paymentID: payment.paymentID, amount: payment.amount })
    expect((await ours<OurInvoice>('invoices.retrieve', { id: made.InvoiceID })).Status).toBe('PAID')
  })

  it('write by the same requests', async () => {
    const contact = { name: 'Grace', emailAddress: 'grace@example.com', contactNumber: 'mine' } as Contact
    const grace = (await client.createContacts(TENANT, { contacts: [contact] }, undefined, 'k-1')).body
      .contacts![0]!
    await ours('contacts.create', { name: 'Ada', email: 'ada@example.com' })
    const invoice = {
      type: 'ACCREC',
      contact: { contactID: grace.contactID },
      status: 'AUTHORISED',
      dueDate: '2026-12-22',
      lineItems: [{ description: 'Treatment', quantity: 1, unitAmount: 80, accountCode: '200' }],
    } as unknown as Invoice
    const theirs = (await client.createInvoices(TENANT, { invoices: [invoice] }, undefined, 4, 'k-2')).body
      .invoices![0]!
    const mine = await makeInvoice(grace.contactID!)
    const payment = {
      invoice: { invoiceID: theirs.invoiceID },
      account: { code: '090' },
      amount: 80,
    } as Payment
    const { payments } = (await client.createPayments(TENANT, { payments: [payment] }, undefined, 'k-3')).body
    const paid = payments![0]!
    const mySide = await ours<OurPayment>('payments.create', {
      invoice: mine.InvoiceID,
      amount: '1',
      accountCode: '090',
    })
    await client.deletePayment(TENANT, paid.paymentID!, { status: 'DELETED' }, 'k-4')
    await ours('payments.delete', { id: mySide.PaymentID })
    const voided = { status: 'VOIDED' } as unknown as Invoice
    await client.updateInvoice(TENANT, theirs.invoiceID!, { invoices: [voided] }, undefined, 'k-5')
    await ours('invoices.void', { id: mine.InvoiceID })

    const sent = subject.twin.requests().filter(({ method }) => method !== 'GET')
    const shape = ({ method, path }: (typeof sent)[number]) =>
      `${method} ${path.replace(/[0-9a-f]{8}-[0-9a-f-]+/, 'ID')}`
    // Theirs: contact, invoice, payment, deletion, void. Ours in between, in the same order.
    const [c1, c2, i1, i2, p1, p2, d1, d2, v1, v2] = sent.map(shape)
    expect([c2, i2, p2, d2, v2]).toEqual([c1, i1, p1, d1, v1])
    for (const { headers } of sent) {
      expect(headers['idempotency-key']).toMatch(/./)
      expect(headers['xero-tenant-id']).toBe(TENANT)
    }
    const statuses = subject.twin.effects().map(({ kind }) => kind)
    expect(statuses.filter((kind) => kind === 'invoice.voided')).toHaveLength(2)
    expect(statuses.filter((kind) => kind === 'payment.deleted')).toHaveLength(2)
  })

  it('are recognised by their key alike', async () => {
    const contacts = [{ name: 'Grace' } as Contact]
    const theirs = async () =>
      (await client.createContacts(TENANT, { contacts }, undefined, 'k-1')).body.contacts![0]!.contactID
    expect(await theirs()).toBe(await theirs())
    const mine = async () => (await ours<OurContact>('contacts.create', { name: 'Ada' }, 'k-2')).ContactID
    expect(await mine()).toBe(await mine())
    expect(subject.twin.effects()).toHaveLength(2)
  })

  it('list and filter the same', async () => {
    for (const Name of ['Ada', 'Grace', 'Jean'])
      await subject.twin.contactCreated({ Name, EmailAddress: `${Name.toLowerCase()}@example.com` })
    const where = 'EmailAddress=="ada@example.com"'
    const theirs = (await client.getContacts(TENANT, undefined, where)).body.contacts!
    const mine = await ours<OurContact[]>('contacts.findByEmail', { email: 'ada@example.com' })
    expect(mine.map(({ ContactID }) => ContactID)).toEqual(theirs.map(({ contactID }) => contactID))

    const since = new Date(subject.clock.now())
    await subject.clock.advance(5000)
    await subject.twin.contactCreated({ Name: 'Katherine' })
    const after = new Date(since.getTime() + 2000)
    const order = 'UpdatedDateUTC ASC'
    for (const [from, count] of [
      [since, 4],
      [after, 1],
    ] as const) {
      const page = (await client.getContacts(TENANT, from, undefined, order, undefined, 1, true)).body
      const ownPage = await ours<{ Contacts: OurContact[]; pagination: object }>('contacts.list', {
        modifiedSince: from.toISOString(),
      })
      expect(page.contacts).toHaveLength(count)
      expect(ownPage.Contacts.map(({ ContactID }) => ContactID)).toEqual(
        page.contacts!.map(({ contactID }) => contactID),
      )
      expect(ownPage.pagination).toEqual(plain(page.pagination))
    }
  })

  it('are refused the same: a taken name, a missing invoice, another organisation, a bad token', async () => {
    await subject.twin.contactCreated({ Name: 'Ada' })
    const statusOf = async (asked: Promise<unknown>): Promise<number> => {
      const refused: unknown = await asked.then(
        () => undefined,
        (error: unknown) => error,
      )
      const read = typeof refused === 'string' ? (JSON.parse(refused) as unknown) : refused
      return (read as { response: { statusCode: number } }).response.statusCode
    }
    const taken = client.createContacts(TENANT, { contacts: [{ name: 'ADA' }] })
    expect(await statusOf(taken)).toBe(400)
    const { classification } = await subject.call('contacts.create', { name: 'ADA' })
    expect(classification).toMatchObject({ as: 'failed', code: 'validation' })
    expect(classification).toMatchObject({ reason: expect.stringContaining('already assigned') as string })

    expect(await statusOf(client.getInvoice(TENANT, 'nothing'))).toBe(404)
    expect((await subject.call('invoices.retrieve', { id: 'nothing' })).classification).toMatchObject({
      as: 'failed',
      code: 'http_404',
    })
    expect(await statusOf(client.getContacts('another'))).toBe(403)

    subject.twin.oauth.expireAccessTokens()
    expect(await statusOf(client.getContacts(TENANT))).toBe(401)
    expect((await subject.call('contacts.list', {})).classification.as).toBe('unauthorized')
  })
})
