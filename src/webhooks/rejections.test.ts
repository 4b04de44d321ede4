import { describe, expect, it } from 'vitest'
import { MINUTE } from '../base/index.ts'
import { createFakeClock, type FakeClock } from '../testing/index.ts'
import type { Endpoint, Rejection } from './endpoint.ts'
import { createRejectionCounter, SAMPLE_BODY_BYTES, type RejectionCounter } from './rejections.ts'

/** The two tables, as the statements would leave them; the statements themselves run in the journeys. */
interface Tables {
  readonly counts: Map<string, number>
  readonly samples: Map<string, { reason: string; headers: string; body: Buffer }>
  statements: number
  away: boolean | 'samples'
  faults: unknown[]
}

function bench(): { clock: FakeClock; tables: Tables; counter: RejectionCounter } {
  const clock = createFakeClock(0)
  const tables: Tables = { counts: new Map(), samples: new Map(), statements: 0, away: false, faults: [] }
  const counter = createRejectionCounter({
    clock,
    onFault: (fault) => tables.faults.push(fault),
    query: (statement, values) => {
      tables.statements++
      if (tables.away === true || (tables.away === 'samples' && statement.includes('into rejected_samples')))
        return Promise.reject(new Error('the database is away'))
      if (statement.includes('into rejected_counts')) {
        for (const [tenant, endpoint, minute, reason, count] of rowsOf(values, 5)) {
          const key = [tenant, endpoint, (minute as Date).getTime() / MINUTE, reason].join(' ')
          tables.counts.set(key, (tables.counts.get(key) ?? 0) + Number(count))
        }
      } else {
        for (const [tenant, endpoint, slot, reason, headers, body] of rowsOf(values, 7))
          tables.samples.set([tenant, endpoint, slot].join(' '), {
            reason: String(reason),
            headers: String(headers),
            body: body as Buffer,
          })
      }
      return Promise.resolve()
    },
  })
  return { clock, tables, counter }
}

function rowsOf(values: readonly unknown[], width: number): unknown[][] {
  return Array.from({ length: values.length / width }, (_, row) =>
    values.slice(row * width, (row + 1) * width),
  )
}

function rejection(change: Partial<Rejection> = {}, endpointId = 'ep_1'): Rejection {
  return {
    endpoint: { tenant: 'default', id: endpointId } as Endpoint,
    status: 401,
    code: 'signature_invalid',
    reason: 'no signature matches',
    headers: [['stripe-signature', 't=1']],
    body: Buffer.from('{}'),
    receivedAt: 0,
    ...change,
  }
}

describe('refused deliveries', () => {
  it('are counted per endpoint, minute and reason, and written every ten seconds', async () => {
    const { clock, tables, counter } = bench()
    for (let i = 0; i < 5; i++) counter.count(rejection())
    counter.count(rejection({ code: 'timestamp_outside_tolerance' }))
    counter.count(rejection({ receivedAt: 61_000 }))
    counter.count(rejection({}, 'ep_2'))
    await clock.advance(9_999)
    expect(tables.statements).toBe(0)
    await clock.advance(1)
    counter.count(rejection())
    await clock.advance(10_000)
    expect(Object.fromEntries(tables.counts)).toEqual({
      'default ep_1 0 signature_invalid': 6,
      'default ep_1 0 timestamp_outside_tolerance': 1,
      'default ep_1 1 signature_invalid': 1,
      'default ep_2 0 signature_invalid': 1,
    })
  })

  it('cost no statement while there are none, and none for paths that nobody knows', async () => {
    const { clock, tables, counter } = bench()
    const { endpoint: _endpoint, ...unknown } = rejection({ code: 'endpoint_unknown' })
    counter.count(unknown)
    await clock.advance(60_000)
    expect(tables.statements).toBe(0)
  })

  it('are sampled: the newest ten of each reason, so that a flood of one hides no other', async () => {
    const { tables, counter } = bench()
    counter.count(rejection({ code: 'timestamp_outside_tolerance', body: Buffer.from('the rare one') }))
    for (let i = 0; i < 1000; i++) counter.count(rejection({ body: Buffer.from(String(i)) }))
    counter.count(rejection({ code: 'ack_timeout', status: 503 }))
    await counter.flush()
    const samples = [...tables.samples.values()]
    expect(samples).toHaveLength(11)
    expect(samples.map(({ body }) => body.toString())).toContain('the rare one')
    expect(samples.map(({ body }) => body.toString())).toContain('999')
    expect(samples[0]!.headers).toBe('[["stripe-signature","t=1"]]')
    expect(tables.counts.get('default ep_1 0 ack_timeout')).toBe(1)
    expect(tables.counts.get('default ep_1 0 signature_invalid')).toBe(1000)
  })

  it('keep at most a hundred samples of an endpoint, each cut to 64 KiB', async () => {
    const { tables, counter } = bench()
    const reasons =
      'signature_missing signature_malformed signature_invalid timestamp_outside_tolerance content_type_unsupported ' +
      'content_encoding_unsupported body_too_large headers_too_large receive_timeout method_not_allowed something_new'
    for (const code of reasons.split(' '))
      for (let i = 0; i < 30; i++) counter.count(rejection({ code, body: Buffer.alloc(1_000_000, i) }))
    await counter.flush()
    expect(tables.samples.size).toBe(100)
    for (const { body } of tables.samples.values()) {
      expect(body).toHaveLength(SAMPLE_BODY_BYTES)
      expect(body.buffer.byteLength).toBeLessThanOrEqual(SAMPLE_BODY_BYTES)
    }
  })

  it('are kept while the database is away, and written once when it is back', async () => {
    const { clock, tables, counter } = bench()
    tables.away = true
    counter.count(rejection())
    await clock.advance(60_000)
    expect(tables.counts.size).toBe(0)
    expect(tables.faults).toHaveLength(6)
    counter.count(rejection())
    tables.away = false
    await clock.advance(20_000)
    expect(tables.counts.get('default ep_1 0 signature_invalid')).toBe(2)
    expect(tables.samples.size).toBe(2)
  })

  it('are not counted twice where the counts were written and the samples were not', async () => {
    const { tables, counter } = bench()
    tables.away = 'samples'
    counter.count(rejection())
    await counter.flush()
    tables.away = false
    await counter.flush()
    expect(tables.counts.get('default ep_1 0 signature_invalid')).toBe(1)
    expect(tables.samples.size).toBe(1)
  })

  it('hold a bounded memory in a long outage: beyond it they are counted by the hour', async () => {
    const { tables, counter } = bench()
    for (let minute = 0; minute < 20_000; minute++)
      counter.count(rejection({ receivedAt: minute * MINUTE, code: 'ack_timeout' }))
    await counter.flush()
    expect(tables.counts.size).toBeLessThan(10_200)
    expect([...tables.counts.values()].reduce((sum, count) => sum + count)).toBe(20_000)
  })

  it('are written at a stop, which may be asked for twice, and then no timer is left', async () => {
    const { clock, tables, counter } = bench()
    counter.count(rejection())
    await Promise.all([counter.stop(), counter.stop()])
    await counter.stop()
    expect(tables.counts.get('default ep_1 0 signature_invalid')).toBe(1)
    expect(clock.pending()).toBe(0)
  })

  it('are not lost between two flushes that overlap', async () => {
    const { tables, counter } = bench()
    counter.count(rejection())
    const first = counter.flush()
    counter.count(rejection())
    await Promise.all([first, counter.flush()])
    expect(tables.counts.get('default ep_1 0 signature_invalid')).toBe(2)
  })
})
