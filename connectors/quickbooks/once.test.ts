/** Payments are made once: by requestid, then by look-up. And what happens when each of the two is taken away. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { repeatedEffects } from 'trestle/testing'
import { startSubject, type Subject } from '../../tests/conformance/suite.ts'
import { quickbooks } from './index.ts'
import { createQuickbooksTwin, type QuickbooksTwin } from './twin.ts'

describe('a payment whose answer was lost', () => {
  let subject: Subject<QuickbooksTwin>
  let customer: string
  let begunAt: number

  beforeEach(async () => {
    subject = await startSubject({
      connector: quickbooks,
      folder: new URL('.', import.meta.url),
      twin: (clock) => createQuickbooksTwin({ clock }),
      settings: { realmId: '9130347957983546' },
      authorize: (twin) => ({
        authorization: `Bearer ${(twin.oauth.grants()[0] ?? twin.connectApp()).accessToken}`,
      }),
      samples: {},
    })
    customer = (await subject.twin.customerCreated({ DisplayName: 'Ada' })).Id
    begunAt = subject.clock.now()
    subject.twin.faults.resetAfterActing(1)
    const outcome = await send('k').catch(() => 'lost')
    if (outcome !== 'lost') throw new Error('the answer was to be lost')
  })
  afterEach(() => subject.stop())

  const input = () => ({ customer, amount: '19.99', reference: 'pi_1' })
  const send = (key: string) => subject.call('payments.create', input(), { key })
  const lookUp = () => subject.lookUp('payments.create', input(), { key: 'k', begunAt })
  const repeated = () => repeatedEffects(subject.twin.effects())

  it('is given again for the same requestid', async () => {
    expect((await send('k')).classification).toEqual({ as: 'succeeded' })
    expect(repeated()).toEqual([])
  })

  it('would be there twice under another requestid', async () => {
    await send('another')
    expect(repeated()).toMatchObject([{ kind: 'payment.created', key: 'pi_1', times: 2 }])
  })

  it('would be there twice once Intuit has forgotten the requestid, so it is looked up then', async () => {
    subject.twin.forgetRequestIds()
    expect(await lookUp()).toMatchObject({ Id: subject.twin.effects()[0]?.ref, TotalAmt: 19.99 })
    expect(repeated()).toEqual([])
    await send('k')
    expect(repeated()).toMatchObject([{ kind: 'payment.created', key: 'pi_1', times: 2 }])
  })

  it('is found even if somebody voided it meanwhile', async () => {
    await subject.twin.paymentVoided({ id: subject.twin.effects()[0]!.ref })
    expect(await lookUp()).toMatchObject({ TotalAmt: 0 })
  })

  it('is not taken for an equal payment that somebody entered by hand', async () => {
    await subject.twin.paymentCreated({
      CustomerRef: { value: customer },
      TotalAmt: 19.99,
      PaymentRefNum: 'pi_1',
    })
    expect(await lookUp()).toMatchObject({ Id: subject.twin.effects()[0]?.ref })
  })
})
