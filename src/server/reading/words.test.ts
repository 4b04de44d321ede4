import { describe, expect, it } from 'vitest'
import type { RunState } from '../../define/index.ts'
import type { PendingStep } from '../../flows/index.ts'
import { runWords, timeWords, waitWords, type RunFacts } from './words.ts'

const NOW = Date.parse('2026-11-22T12:00:00Z')
const call = (phase: string, until: number | null, more: object = {}): PendingStep =>
  ({
    kind: 'operation',
    name: 'stripe.refunds.create',
    ordinal: 1,
    phase,
    until,
    attempts: 2,
    reason: 'rate limited.',
    ...more,
  }) as unknown as PendingStep

describe('what a step waits for', () => {
  it.each([
    [call('none', null), 'stripe.refunds.create is about to be tried'],
    [
      call('retry', NOW + 41_000),
      'Attempt 2 of stripe.refunds.create failed (rate limited); the next one is made in 41 s, at 2026-11-22 12:00:41 UTC',
    ],
    [
      call('deferred', NOW - 1),
      'stripe.refunds.create is held back (rate limited); it is asked for again now',
    ],
    [
      call('parked', null, { reason: undefined }),
      'stripe.refunds.create waits for something outside; it is looked at again when it can',
    ],
    [
      call('in_doubt', NOW + 2000),
      'Whether stripe.refunds.create was done is not known (rate limited); that is found out in 2 s, at 2026-11-22 12:00:02 UTC',
    ],
    [call('held', null), 'A person must say whether stripe.refunds.create was done (rate limited)'],
    [call('late', null), 'A person must say whether stripe.refunds.create still makes sense (rate limited)'],
  ])('is said in words: %#', (step, words) => {
    expect(waitWords(step, NOW)).toBe(words)
  })

  it('names the connection of an event, where only that one will do', () => {
    const wait = {
      kind: 'wait',
      connector: 'stripe',
      connection: 'stripe-eu',
      type: 'charge.refunded',
      field: 'data.customer',
      value: 'cus_1',
      until: NOW + 86_400_000,
    } as PendingStep
    expect(waitWords(wait, NOW)).toBe(
      'Waits for stripe "charge.refunded" with data.customer = cus_1 over stripe-eu; gives up waiting in 1 day, at 2026-11-23 12:00:00 UTC',
    )
  })

  it('is now where its time has come', () => {
    expect(timeWords(NOW, NOW)).toBe('now')
  })
})

describe('where a run stands', () => {
  const facts = (state: RunState, more: Partial<RunFacts> = {}): RunFacts => ({
    state,
    reason: undefined,
    createdAt: NOW - 820,
    finishedAt: undefined,
    waits: [],
    lane: undefined,
    ...more,
  })

  it.each<[RunFacts, string]>([
    [facts('queued'), 'It is ready: a worker takes it up next.'],
    [
      facts('queued', { lane: { position: 1, behind: undefined } }),
      'It is ready: a worker takes it up next.',
    ],
    [
      facts('queued', { lane: { position: 2, behind: { id: 'run_1', state: 'dead_lettered' } } }),
      'One run of its lane goes first: run_1 is dead lettered.',
    ],
    [facts('running'), 'A worker executes it now.'],
    [facts('waiting'), 'It waits.'],
    [
      facts('parked', { reason: 'Log in again' }),
      'It waits for something outside it: Log in again. When that is mended, retry it; else cancel it.',
    ],
    [facts('held', { reason: 'The steps changed.' }), 'It waits for a person: The steps changed.'],
    [facts('undoing', { reason: 'Cancelled by ada.' }), 'What it did is being undone: Cancelled by ada.'],
    [facts('succeeded', { finishedAt: NOW }), 'It succeeded 820 ms after its event.'],
    [facts('undone'), 'It gave up, and what it had done was undone.'],
    [
      facts('dead_lettered', { reason: 'No' }),
      'It gave up: No. Retry it (the same run goes on), replay its event (a new run), or cancel it.',
    ],
    [facts('cancelled'), 'It was cancelled.'],
  ])('is said in words: %#', (run, words) => {
    expect(runWords(run, NOW)).toBe(words)
  })
})
