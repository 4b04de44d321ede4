import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { acme, doubted, failedFor } from '../../tests/support/engine.ts'
import { DAY, HOUR, MINUTE, seededRandom } from '../base/index.ts'
import type { CallOutcome } from '../calls/index.ts'
import type { AnyOperation } from '../define/index.ts'
import {
  afterAttempt,
  afterCrash,
  idempotencyKey,
  nextMove,
  noLongerThanValid,
  notDone,
  notTried,
  retryPolicy,
  withWord,
} from './retry.ts'
import type { PendingCall } from './run.ts'

const T = 1_795_338_000_000
const operations = acme.operations.things as Record<string, AnyOperation>
const key = operations['create']!
const natural = operations['upsert']!
const lookup = operations['find']!
const none = operations['post']!
const policy = retryPolicy(undefined, undefined)

const at = (now: number, operation: AnyOperation, asked: 'send' | 'lookup' = 'send') => ({
  operation,
  policy,
  now,
  random: seededRandom('test'),
  asked,
})
const tried = (over: Partial<PendingCall> = {}): PendingCall => ({
  ...notTried('step', 1, T),
  attempts: 1,
  begunAt: T,
  ...over,
})
const pendingOf = (step: PendingCall, outcome: CallOutcome, context: ReturnType<typeof at>): PendingCall => {
  const after = afterAttempt(step, outcome, context)
  if (after.as !== 'wait') throw new Error(`expected a wait, got ${after.as}`)
  return after.pending
}

describe('what a step does next', () => {
  it('tries what was not tried', () => {
    expect(nextMove(notTried('step', 1, T), key, {}, T)).toMatchObject({ as: 'send' })
  })

  it('waits until its time has come', () => {
    const step = tried({ phase: 'retry', until: T + 1000 })
    expect(nextMove(step, key, {}, T + 999).as).toBe('wait')
    expect(nextMove(step, key, {}, T + 1000).as).toBe('send')
  })

  it.each([
    ['key', key, 'send'],
    ['natural', natural, 'send'],
    ['lookup', lookup, 'look_up'],
    ['none', none, 'wait'],
  ])('resolves a doubt by %s', (_, operation, move) => {
    const step = pendingOf(tried(), doubted(), at(T, operation))
    expect(nextMove(step, operation, {}, T + DAY - 1).as).toBe(move)
  })

  it('holds what nobody can ask about', () => {
    const step = pendingOf(tried(), doubted(), at(T, none))
    expect(step).toMatchObject({ phase: 'held', code: 'outcome_unknown', until: null })
  })

  it('asks only when the provider’s search has settled after the newest attempt', () => {
    // The first attempt was turned away, the second came ten minutes later and its answer was lost.
    const second = tried({ attempts: 2, begunAt: T })
    const step = pendingOf(second, doubted(), at(T + 10 * MINUTE, lookup))
    expect(step.until).toBe(T + 10 * MINUTE + 5)
  })

  it('does not send a key that the provider may have forgotten, in doubt or not', () => {
    const inDoubt = tried({ phase: 'in_doubt', until: T, doubtedAt: T })
    expect(nextMove(inDoubt, key, {}, T + DAY)).toMatchObject({ as: 'wait', pending: { phase: 'held' } })
    const turnedAway = tried({ phase: 'retry', until: T })
    expect(nextMove(turnedAway, key, {}, T + DAY)).toMatchObject({
      as: 'send',
      step: { generation: 1, begunAt: undefined },
    })
  })

  it('keeps a doubt through failures that never reached the provider', () => {
    const inDoubt = pendingOf(tried(), doubted(), at(T, key))
    const refused = pendingOf(
      { ...inDoubt, attempts: 2 },
      failedFor('connect_refused', true),
      at(T + 1000, key),
    )
    expect(refused).toMatchObject({ phase: 'in_doubt', generation: 0 })
    expect(nextMove(refused, key, {}, T + 2 * DAY)).toMatchObject({ as: 'wait', pending: { phase: 'held' } })
  })

  it('asks a person when attempts run out in doubt, and fails when they run out without', () => {
    const spent = { spentMs: 73 * HOUR }
    expect(
      pendingOf(tried({ ...spent, doubtedAt: T }), failedFor('unavailable', true), at(T, key)),
    ).toMatchObject({ phase: 'held', code: 'outcome_unknown' })
    expect(afterAttempt(tried(spent), failedFor('unavailable', true), at(T, key))).toMatchObject({
      as: 'failed',
      code: 'attempts_exhausted',
    })
  })

  it('counts a deferral as no attempt and no time', () => {
    const deferred = pendingOf(
      notTried('step', 1, T),
      { as: 'deferred', until: T + HOUR, code: 'circuit_open', reason: 'open' },
      at(T, key),
    )
    expect(deferred).toMatchObject({ phase: 'deferred', until: T + HOUR, attempts: 0, spentMs: 0 })
  })

  it('takes a new key only after a definite no', () => {
    const step = tried({ doubtedAt: T })
    expect(
      pendingOf(step, { as: 'not_found', exchange: {} as never }, at(T, lookup, 'lookup')),
    ).toMatchObject({ generation: 1, doubtedAt: undefined, begunAt: undefined })
    expect(pendingOf(step, doubted(), at(T, lookup, 'lookup')).generation).toBe(0)
  })

  it('takes a person’s word', () => {
    const held = tried({ phase: 'held', until: null, code: 'outcome_unknown' })
    expect(nextMove({ ...held, settled: { as: 'done', result: 7 } }, none, {}, T)).toEqual({
      as: 'done',
      result: 7,
    })
    expect(nextMove(withWord({ ...held, settled: { as: 'not_done' } }, T), none, {}, T)).toMatchObject({
      as: 'send',
      step: { generation: 1 },
    })
  })

  it('is never late in doubt: what may have been done is learned first', () => {
    const options = { validUntil: new Date(T - 1), onLate: 'skip' } as const
    expect(nextMove(notTried('step', 1, T), lookup, options, T).as).toBe('skip')
    expect(nextMove(tried({ phase: 'in_doubt', until: 0, doubtedAt: T - HOUR }), lookup, options, T).as).toBe(
      'look_up',
    )
  })

  it('waits as long as the provider asks, also in doubt', () => {
    const asked = { ...doubted(), retryAt: T + 2 * HOUR } as CallOutcome
    const byKey = pendingOf(tried(), asked, at(T, key))
    expect(byKey.until).toBeGreaterThanOrEqual(T + 2 * HOUR)
    expect(pendingOf(tried(), asked, at(T, lookup)).until).toBe(T + 2 * HOUR)
    // Longer than is waited for: what is in doubt is taken up after a day.
    const tooLong = { ...doubted(), retryAt: T + 9 * DAY } as CallOutcome
    expect(pendingOf(tried(), tooLong, at(T, key))).toMatchObject({ phase: 'in_doubt', until: T + DAY })
  })

  it('finds that it is too late when it is, and not only when its turn has come', () => {
    const options = { validUntil: new Date(T + HOUR), onLate: 'skip' } as const
    const refused = pendingOf(
      tried(),
      { ...failedFor('rate_limited', true), retryAt: T + 5 * HOUR } as CallOutcome,
      at(T, key),
    )
    expect(noLongerThanValid(refused, options).until).toBe(T + HOUR + 1)
    expect(nextMove(refused, key, options, T + HOUR + 1).as).toBe('skip')
    expect(nextMove(refused, key, options, T + HOUR - 1).as).toBe('wait')
    // In doubt it is learned first what came of it.
    const doubtful = pendingOf(tried(), doubted(), at(T, lookup))
    expect(noLongerThanValid({ ...doubtful, until: T + 9 * HOUR }, options).until).toBe(T + 9 * HOUR)
    expect(noLongerThanValid(refused, { ...options, onLate: 'run' })).toBe(refused)
  })

  it('takes each part of its policy from the step, else the flow, else the operation', () => {
    expect(
      retryPolicy({ attempts: 3 }, { first: '2 s', attempts: 9 }, { first: '9 s', horizon: '1 h' }),
    ).toEqual({ attempts: 3, first: 2_000, horizon: HOUR, cap: 15 * MINUTE })
  })

  it('says over how long it was tried when it gives up', () => {
    const spent = { spentMs: 73 * HOUR, attempts: 12, firstAt: T - 75 * HOUR }
    expect(afterAttempt(tried(spent), failedFor('unavailable', true), at(T, key))).toMatchObject({
      reason: 'Gave up after 12 attempts over 3 days 3 h: it failed: unavailable',
    })
  })

  it('after a crash doubts what may have left, and nothing else', () => {
    const crashed = { last: undefined, claims: 2, claimedAt: T - HOUR, now: T }
    expect(afterCrash(notTried('step', 1, T), key, crashed)).toMatchObject({
      phase: 'in_doubt',
      begunAt: T - HOUR,
    })
    expect(afterCrash(notTried('step', 1, T), none, crashed)).toMatchObject({ phase: 'none' })
    expect(afterCrash(notTried('step', 1, T), key, { ...crashed, claims: 1 })).toMatchObject({
      phase: 'none',
    })
    const last = {
      name: 'step',
      ordinal: 1,
      number: 1,
      generation: 0,
      open: true,
      request: undefined,
      begunAt: T - MINUTE,
    }
    expect(afterCrash(notTried('step', 1, T), none, { ...crashed, last })).toMatchObject({
      phase: 'in_doubt',
      attempts: 1,
      begunAt: T - MINUTE,
    })
  })

  it('gives every root run, step, ordinal and generation a key of its own', () => {
    fc.assert(
      fc.property(
        fc.tuple(fc.string(), fc.string(), fc.nat(), fc.nat()),
        fc.tuple(fc.string(), fc.string(), fc.nat(), fc.nat()),
        (a, b) => {
          const of = ([root, name, ordinal, generation]: typeof a) =>
            idempotencyKey(root, { name: name.replaceAll('\0', ''), ordinal, generation })
          fc.pre(
            JSON.stringify(a) !== JSON.stringify(b) &&
              !a.concat(b).some((part) => String(part).includes('\0')),
          )
          expect(of(a)).not.toBe(of(b))
          expect(of(a)).toMatch(/^[\w-]{43}$/)
        },
      ),
    )
    expect(notDone(tried(), T).generation).toBe(1)
  })
})
