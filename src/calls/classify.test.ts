import { describe, expect, it } from 'vitest'
import type { AnyConnector, AnyOperation, IdempotencyKind, LostExchange } from '../define/index.ts'
import { classify, classifyLost, type ClassifyContext } from './classify.ts'

const T = 1_795_338_000_000
const context = (kind: IdempotencyKind, over: Partial<ClassifyContext> = {}): ClassifyContext => ({
  operation: undefined,
  connector: { name: 'acme' } as AnyConnector,
  kind,
  now: T,
  ...over,
})
const lost = (over: Partial<LostExchange>): LostExchange => ({
  phase: 'waiting',
  code: 'timed_out',
  reason: 'No answer came.',
  ...over,
})
const answer = (status: number, headers: Record<string, string> = {}) => ({
  status,
  headers,
  json: undefined,
  text: '',
})

describe('a time that the provider names', () => {
  it.each([
    ['120', T + 120_000],
    [new Date(T + 3_600_000).toUTCString(), T + 3_600_000],
  ])('counts in both forms, where the answer left doubt as where it was refused (%s)', (header, at) => {
    const headers = { 'retry-after': header }
    expect(classify(answer(503, headers), context('key'))).toMatchObject({ as: 'in_doubt', retryAt: at })
    expect(classify(answer(503, headers), context('natural'))).toMatchObject({ as: 'retry', retryAt: at })
    expect(classify(answer(429, headers), context('none'))).toMatchObject({ as: 'retry', retryAt: at })
  })
  it('says nothing about what is refused for good', () => {
    expect(classify(answer(400, { 'retry-after': '120' }), context('key'))).not.toHaveProperty('retryAt')
  })
})

describe('an exchange without a whole answer', () => {
  it.each<[LostExchange['phase'], string, IdempotencyKind, string]>([
    ['connecting', 'connect_refused', 'none', 'retry'],
    ['connecting', 'dns_failed', 'natural', 'retry'],
    ['waiting', 'timed_out', 'none', 'in_doubt'],
    ['waiting', 'connection_lost', 'key', 'in_doubt'],
    ['waiting', 'timed_out', 'natural', 'retry'],
    ['reading', 'answer_truncated', 'lookup', 'in_doubt'],
    ['reading', 'answer_too_large', 'natural', 'failed'],
  ])('while %s (%s), of an operation "%s": %s', (phase, code, kind, as) => {
    expect(classifyLost(lost({ phase, code }), context(kind)).as).toBe(as)
  })

  it('is judged by the operation, then by the connector, by phase and code', () => {
    const connector = {
      name: 'acme',
      classifyLost: ({ phase }: LostExchange) =>
        phase === 'waiting'
          ? { as: 'retry', code: 'queue_dropped', reason: 'Its gateway drops.', retryAt: T + 5 }
          : undefined,
    } as unknown as AnyConnector
    const operation = {
      classifyLost: ({ code }: LostExchange) =>
        code === 'timed_out' ? { as: 'in_doubt', code: 'slow', reason: 'It is slow.' } : undefined,
    } as unknown as AnyOperation
    const of = (over: Partial<LostExchange>) =>
      classifyLost(lost(over), context('none', { connector, operation }))
    expect(of({})).toMatchObject({ as: 'in_doubt', code: 'slow' })
    expect(of({ code: 'connection_lost' })).toMatchObject({
      as: 'retry',
      code: 'queue_dropped',
      retryAt: T + 5,
    })
    expect(of({ phase: 'reading', code: 'answer_truncated' })).toMatchObject({ as: 'in_doubt' })
  })

  it('that was never sent is never in doubt, whatever a rule says', () => {
    const connector = {
      name: 'acme',
      classifyLost: () => ({ as: 'in_doubt', code: 'x', reason: 'x' }),
    } as unknown as AnyConnector
    expect(classifyLost(lost({ phase: 'connecting' }), context('none', { connector }))).toMatchObject({
      as: 'retry',
    })
  })

  it('whose rule throws is in doubt', () => {
    const connector = {
      name: 'acme',
      classifyLost: () => {
        throw new Error('oops')
      },
    } as unknown as AnyConnector
    expect(classifyLost(lost({}), context('natural', { connector }))).toMatchObject({
      as: 'in_doubt',
      code: 'classification_failed',
    })
  })
})
