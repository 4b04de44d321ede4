import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startTwins, type Twins } from '../../examples/business-day/twins.ts'
import { effectId, Witness } from '../../examples/business-day/witness.ts'
import { systemClock } from '../../src/base/index.ts'

/** What the demo and the journeys rest on: without these the rest could not fail. */
describe('the witness', () => {
  let twins: Twins
  beforeAll(async () => {
    twins = await startTwins('witness')
  })
  afterAll(() => twins.stop())

  const payment = (id: string) =>
    twins.quickbooks.effect({ kind: 'payment.created', key: `Stripe ${id}`, ref: '7', summary: 'payment' })
  const expected = (id: string) => effectId('quickbooks', 'payment.created', id)

  it('is content with every effect exactly once', () => {
    const witness = new Witness(twins, systemClock)
    const paid = witness.happened('a payment', [expected('pi_1')])
    expect(witness.unfinished()).toEqual([paid])
    payment('pi_1')
    expect(witness.look()).toMatchObject([{ id: expected('pi_1'), happening: { what: 'a payment' } }])
    expect(witness.unfinished()).toEqual([])
    expect(witness.doneAt(paid)).toBeGreaterThanOrEqual(paid.at)
    expect(witness.verdict()).toMatchObject({ expected: 1, found: 1, missing: [], doubled: [], unasked: [] })
  })

  it('notices what is missing', () => {
    const witness = new Witness(twins, systemClock)
    witness.happened('a payment', [expected('pi_2')])
    expect(witness.verdict().missing).toEqual([expected('pi_2')])
  })

  it('notices what is there twice, though it has another id at the provider', () => {
    const witness = new Witness(twins, systemClock)
    witness.happened('a payment', [expected('pi_3')])
    payment('pi_3')
    payment('pi_3')
    expect(witness.verdict().doubled).toContain(expected('pi_3'))
  })

  it('notices what nobody asked for', () => {
    const witness = new Witness(twins, systemClock)
    payment('pi_4')
    expect(witness.verdict().unasked).toContain(expected('pi_4'))
  })
})
