import { describe, expect, it } from 'vitest'
import type { Kind } from './connector.ts'
import { judge, unfinished } from './invariant.ts'
import type { Sent } from './sender.ts'

function sent(kind: Kind, ref: string, over: Partial<Sent> = {}): Sent {
  return {
    id: `evt-${ref}`,
    kind,
    ref,
    customer: ref,
    point: 'write:1',
    once: false,
    copies: 0,
    acknowledgedAt: 1,
    attempts: 1,
    ...over,
  }
}

/** Effects in the order in which they happened. */
function happened(...keys: readonly string[]): ReadonlyMap<string, readonly number[]> {
  const places = new Map<string, number[]>()
  keys.forEach((key, at) => places.set(key, [...(places.get(key) ?? []), at + 1]))
  return places
}

const judged = (
  deliveries: readonly Sent[],
  places: ReadonlyMap<string, readonly number[]>,
  state = 'queued',
) => {
  const { violations, heldForPeople } = judge({ sent: deliveries, places, stateOf: () => state })
  return { violations: violations.map(({ as }) => as), heldForPeople }
}

const clean = { violations: [], heldForPeople: 0 }

describe('the invariant', () => {
  it('holds where everything acknowledged happened once', () => {
    expect(judged([sent('two', 'a'), sent('one', 'b')], happened('a/1', 'b/1', 'a/2'))).toEqual(clean)
  })

  it('holds where nothing, or all, of what was not acknowledged happened', () => {
    const unanswered = { acknowledgedAt: undefined }
    expect(judged([sent('two', 'a', unanswered)], happened())).toEqual(clean)
    expect(judged([sent('two', 'a', unanswered)], happened('a/1', 'a/2'))).toEqual(clean)
  })

  it('counts what is held for a person, where nobody could ask', () => {
    expect(judged([sent('none', 'a')], happened(), 'held (outcome_unknown)')).toEqual({
      violations: [],
      heldForPeople: 1,
    })
  })

  it.each([
    ['an acknowledged delivery has no effect', [sent('one', 'a')], [], 'lost'],
    ['one of its effects is missing', [sent('two', 'a')], ['a/1'], 'lost'],
    ['an effect happened twice', [sent('one', 'a')], ['a/1', 'a/1'], 'doubled'],
    [
      'an effect of what was not acknowledged happened twice',
      [sent('one', 'a', { acknowledgedAt: undefined })],
      ['a/1', 'a/1'],
      'doubled',
    ],
    [
      'only half of what was not acknowledged happened',
      [sent('two', 'a', { acknowledgedAt: undefined })],
      ['a/1'],
      'half_done',
    ],
    ['something happened that nobody sent', [sent('one', 'a')], ['a/1', 'nobody/1'], 'unknown'],
    [
      'a run did not wait for the one before it in its lane',
      [sent('lane', 'a', { customer: 'ada' }), sent('lane', 'b', { customer: 'ada' })],
      ['a/1', 'b/1', 'a/2', 'b/2'],
      'out_of_order',
    ],
  ] as const)('is violated where %s', (_what, deliveries, effects, as) => {
    expect(judged(deliveries, happened(...effects)).violations).toEqual([as])
  })

  it('is violated where a run is held although the provider could be asked', () => {
    expect(judged([sent('two', 'a')], happened('a/1'), 'held (outcome_unknown)').violations).toEqual(['held'])
  })

  it('knows what is unfinished', () => {
    const [done, open, unanswered] = [
      sent('one', 'a'),
      sent('two', 'b'),
      sent('one', 'c', { acknowledgedAt: undefined }),
    ]
    expect(unfinished([done, open, unanswered], happened('a/1', 'b/1'))).toEqual([open])
  })
})
