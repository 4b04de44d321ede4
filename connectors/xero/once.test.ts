/** Invoices and payments are made once: by key, then by look-up. And what happens when each of the two is taken away. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { repeatedEffects } from 'trestle/testing'
import { startSubject, type Subject } from '../../tests/conformance/suite.ts'
import { xero } from './index.ts'
import { createXeroTwin, type XeroTwin } from './twin.ts'

const TENANT = 'c2cc9b6e-9458-4c7d-93cc-f02b81b0594f'
const SEVEN_MINUTES = 7 * 60_000

describe('a write whose answer was lost', () => {
  let subject: Subject<XeroTwin>
  let contact: string
  let begunAt: number

  beforeEach(async () => {
    subject = await startSubject({
      connector: xero,
      folder: new URL('.', import.meta.url),
      twin: (clock) => createXeroTwin({ clock, tenantId: TENANT }),
      settings: { tenantId: TENANT },
      authorize: (twin) => ({
        authorization: `Bearer ${(twin.oauth.grants()[0] ?? twin.connectApp()).accessToken}`,
      }),
      samples: {},
    })
    contact = String((await subject.twin.contactCreated({ Name: 'Ada' }))['ContactID'])
    begunAt = subject.clock.now()
  })
  afterEach(() => subject.stop())

  const invoiceInput = () => ({
    contact,
    lines: [{ description: 'Treatment', unitAmount: '80', accountCode: '200' }],
    status: 'AUTHORISED',
    dueDate: '2026-12-22',
    reference: 'Order 7',
  })
  const paymentInput = (invoice: string) => ({
    invoice,
    amount: '19.99',
    accountCode: '090',
    reference: 'pi_1',
  })
  const authorisedInvoice = async () =>
    String(
      (
        await subject.twin.invoiceCreated({
          Contact: { ContactID: contact },
          Status: 'AUTHORISED',
          DueDate: '2026-12-22',
          LineItems: [{ Description: 'Treatment', UnitAmount: 80, AccountCode: '200' }],
        })
      )['InvoiceID'],
    )
  const lose = async (operation: string, input: unknown) => {
    subject.twin.faults.resetAfterActing(1)
    const outcome = await subject.call(operation, input, { key: 'k' }).catch(() => 'lost')
    if (outcome !== 'lost') throw new Error('the answer was to be lost')
  }
  const repeated = () => repeatedEffects(subject.twin.effects())

  it('is given again for the same key within six minutes', async () => {
    await lose('invoices.create', invoiceInput())
    await subject.clock.advance(5 * 60_000)
    const again = await subject.call('invoices.create', invoiceInput(), { key: 'k' })
    expect(again.classification).toEqual({ as: 'succeeded' })
    expect(repeated()).toEqual([])
  })

  it('would be there twice after them, so it is looked up then', async () => {
    await lose('invoices.create', invoiceInput())
    await subject.clock.advance(SEVEN_MINUTES)
    const found = await subject.lookUp('invoices.create', invoiceInput(), { key: 'k', begunAt })
    expect(found).toMatchObject({ InvoiceID: subject.twin.effects()[0]?.ref, Total: 80 })
    expect(repeated()).toEqual([])
    await subject.call('invoices.create', invoiceInput(), { key: 'k' })
    expect(repeated()).toMatchObject([{ kind: 'invoice.created', key: 'Order 7', times: 2 }])
  })

  it('is found even if somebody voided it meanwhile, and an equal one by hand is not taken for it', async () => {
    await lose('invoices.create', invoiceInput())
    const ref = subject.twin.effects()[0]!.ref
    await subject.twin.invoiceCreated({
      Contact: { ContactID: contact },
      Status: 'AUTHORISED',
      DueDate: '2026-12-22',
      Reference: 'Order 7',
      LineItems: [{ Description: 'Treatment', UnitAmount: 80, AccountCode: '200' }],
    })
    await subject.twin.invoiceVoided({ id: ref })
    const found = await subject.lookUp('invoices.create', invoiceInput(), { key: 'k', begunAt })
    expect(found).toMatchObject({ InvoiceID: ref, Status: 'VOIDED' })
  })

  it('of a payment is found among the payments, also once it was taken back', async () => {
    const input = paymentInput(await authorisedInvoice())
    await lose('payments.create', input)
    const ref = subject.twin.effects().at(-1)!.ref
    await subject.clock.advance(SEVEN_MINUTES)
    const look = () => subject.lookUp('payments.create', input, { key: 'k', begunAt })
    expect(await look()).toMatchObject({ PaymentID: ref, Status: 'AUTHORISED' })
    await subject.twin.paymentDeleted({ id: ref })
    expect(await look()).toMatchObject({ PaymentID: ref, Status: 'DELETED' })
    const other = await subject.lookUp('payments.create', input, { key: 'another', begunAt })
    expect(other).toBeUndefined()
  })

  it('that was refused is answered with the same refusal, as long as the key is known', async () => {
    const input = { name: 'ADA' }
    const refuse = async () => (await subject.call('contacts.create', input, { key: 'k' })).classification
    expect(await refuse()).toMatchObject({ as: 'failed', code: 'validation' })
    await subject.twin.contactChanged({ id: contact, fields: { Name: 'Grace' } })
    expect(await refuse()).toMatchObject({ as: 'failed', code: 'validation' })
    await subject.clock.advance(SEVEN_MINUTES)
    expect(await refuse()).toEqual({ as: 'succeeded' })
  })
})
