import { describe, expect, it } from 'vitest'
import { changes, quickbooks } from '../../connectors/quickbooks/index.ts'
import { cron, defineFlow, poll } from '../define/index.ts'
import { playPoll, timesOf } from './index.ts'

describe('timesOf', () => {
  it('gives the times at which a schedule runs', () => {
    const flow = defineFlow({
      name: 'nightly',
      on: cron('30 2 * * *', { zone: 'Europe/Berlin' }),
      run: () => 1,
    })
    expect(timesOf(flow, { from: '2026-03-28T00:00Z', count: 3 }).map((at) => at.toISOString())).toEqual([
      '2026-03-28T01:30:00.000Z',
      '2026-03-29T01:00:00.000Z',
      '2026-03-30T00:30:00.000Z',
    ])
    expect(timesOf(flow)).toHaveLength(5)
  })

  it('refuses what has no schedule', () => {
    const flow = defineFlow({ name: 'paid', on: quickbooks.on('payment.created'), run: () => 1 })
    expect(() => timesOf(flow)).toThrow(/has no schedule/)
    expect(() => playPoll(flow, () => ({}))).toThrow(/polls nothing/)
  })
})

describe('playPoll', () => {
  const flow = defineFlow({
    name: 'invoices',
    on: poll(quickbooks, changes.invoices, { every: '5 min', from: 'beginning' }),
    run: ({ event }) => event.data.TotalAmt,
  })
  const invoice = (id: number, at: string, over: object = {}) => ({
    Id: String(id),
    SyncToken: '0',
    CustomerRef: { value: '1' },
    TotalAmt: id,
    Line: [],
    MetaData: { CreateTime: at, LastUpdatedTime: at },
    ...over,
  })

  it('reads page by page, and each item once', () => {
    const all = Array.from({ length: 150 }, (_, i) =>
      invoice(i + 1, new Date(Date.UTC(2026, 10, 1, 0, i)).toISOString()),
    )
    const played = playPoll(
      flow,
      (input) => {
        const { statement } = input as { statement: string }
        const since = /LastUpdatedTime >= '([^']+)'/.exec(statement)?.[1] ?? ''
        const found = all.filter((one) => one.MetaData.LastUpdatedTime >= since)
        return { QueryResponse: { Invoice: found.slice(0, 100) } }
      },
      { now: '2026-11-22T09:00Z', polls: 2 },
    )
    expect(played.items.map(({ Id }) => Number(Id))).toEqual(all.map((_, i) => i + 1))
    expect(played.cursor).toBe(all[149]!.MetaData.LastUpdatedTime)
    expect(played.asked).toHaveLength(3)
  })

  it('says which items do not fit, and where a page cannot be read', () => {
    const broken = { QueryResponse: { Invoice: [invoice(1, '2026-11-01T00:00:00Z', { TotalAmt: 'much' })] } }
    expect(playPoll(flow, () => broken).refused).toEqual(['/QueryResponse/Invoice/0/TotalAmt'])
    const unordered = {
      QueryResponse: { Invoice: [invoice(1, '2026-11-02T00:00:00Z'), invoice(2, '2026-11-01T00:00:00Z')] },
    }
    expect(() => playPoll(flow, () => unordered)).toThrow(/order in which they changed/)
    expect(() => playPoll(flow, () => ({ nothing: true }))).toThrow(/breaks its contract/)
  })
})
