import { describe, expect, it } from 'vitest'
import { books, changedThings } from '../../schedules/list.fixture.ts'
import {
  defineConfig,
  defineFlow,
  defineOperation,
  poll,
  SHORTEST_POLL_MS,
  type PollOptions,
} from '../index.ts'

const every = { every: '5 min' } as const
type Source = typeof changedThings
const polled = (source: Partial<Source>, options: Partial<PollOptions> = {}) =>
  poll(books, { ...changedThings, ...source }, { ...every, ...options })

describe('poll', () => {
  it('knows the operation by its name in the connector, and the defaults', () => {
    expect(polled({})).toMatchObject({
      kind: 'poll',
      connector: 'books',
      operationName: 'things.list',
      everyMs: 300_000,
      overlapMs: 60_000,
      from: 'now',
      changes: true,
    })
    expect(polled({ overlap: '2 min' }, { overlap: '7 s' }).overlapMs).toBe(7_000)
  })

  const foreign = defineOperation({ ...changedThings.operation })
  const writing = { ...changedThings.operation, idempotency: { kind: 'none' } } as Source['operation']
  it.each<[string, () => unknown, RegExp]>([
    [
      'an operation of another connector',
      () => polled({ operation: foreign }),
      /none of the connector's.*things\.list/,
    ],
    ['a place that is no pointer', () => polled({ items: 'results' }), /JSON Pointer such as/],
    ['an interval that is none', () => polled({}, { every: 'often' }), /"every".*not a duration/],
    ['a beginning that is none', () => polled({}, { from: 'today' as 'now' }), /'now' or 'beginning'/],
    [
      'now as the beginning of a list without times',
      () => polled({ changedAt: undefined, order: 'any' } as never),
      /from: 'beginning'/,
    ],
    [
      'an order by times that there are not',
      () => polled({ changedAt: undefined }, { from: 'beginning' }),
      /there is no "changedAt"/,
    ],
    [
      'what is not harmless to repeat',
      () => {
        const operations = new Map([['things.list', writing]])
        return poll(
          { ...books, operationsByName: operations } as never,
          { ...changedThings, operation: writing },
          every,
        )
      },
      /not harmless to repeat/,
    ],
  ])('refuses %s in words that say what is wrong', (_, make, words) => {
    expect(make).toThrow(expect.objectContaining({ code: 'poll_invalid' }))
    expect(make).toThrow(words)
  })

  it('refuses polls that are closer together than the limit', () => {
    expect(() => polled({}, { every: SHORTEST_POLL_MS })).not.toThrow()
    expect(() => polled({}, { every: SHORTEST_POLL_MS - 1 })).toThrow(/at least 10 s apart/)
  })

  it('needs a connection, and to be told which where there are several', () => {
    const flow = defineFlow({ name: 'things', on: polled({}), run: () => undefined })
    const named = defineFlow({ name: 'things', on: polled({}, { connection: 'b' }), run: () => undefined })
    const connections = { a: books.connect({}), b: books.connect({}) }
    expect(flow.on.type).toBe('poll.things')
    expect(() => defineConfig({ connections: {}, flows: [flow] })).toThrow(/no connection of books/)
    expect(() => defineConfig({ connections, flows: [flow] })).toThrow(/2 connections: a, b.*connection: 'a'/)
    expect(() => defineConfig({ connections, flows: [named] })).not.toThrow()
  })
})
