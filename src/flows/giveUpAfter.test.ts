import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../tests/support/database.ts'
import {
  acme,
  doubted,
  failedFor,
  made,
  startTestEngine,
  type TestEngine,
  type TestEngineOptions,
} from '../../tests/support/engine.ts'
import { HOUR, MINUTE } from '../base/index.ts'
import type { CallRequest } from '../calls/index.ts'
import { defineFlow, type AnyFlow, type FlowContext } from '../define/index.ts'
import { giveUpAt, noLaterThan, tooLong } from './giveUpAfter.ts'
import { notTried } from './retry.ts'
import type { PendingStep, RunMove } from './run.ts'

let testDatabase: TestDatabase
beforeAll(async () => {
  testDatabase = await createTestDatabase()
})
afterAll(() => testDatabase.drop())

let serial = 0
const flow = (run: (context: FlowContext<{ n: number }>) => unknown, over: object = {}): AnyFlow =>
  defineFlow({
    name: `gives-up-${++serial}`,
    on: acme.on('thing.happened'),
    giveUpAfter: 3000,
    retry: { first: '9 days', cap: '9 days', horizon: '90 days' },
    run,
    ...over,
  }) as AnyFlow

async function withEngine(
  options: TestEngineOptions,
  work: (engine: TestEngine) => Promise<void>,
): Promise<void> {
  const engine = await startTestEngine(testDatabase, options)
  try {
    await work(engine)
  } finally {
    await engine.stop()
  }
}

describe('a run whose time is over', () => {
  it('gives up although its next attempt is far away, and says what it waited for', async () => {
    await withEngine(
      {
        flows: [flow(({ use }) => use(acme).things.create({}))],
        call: () => failedFor('provider_unavailable', true),
      },
      async (engine) => {
        const { runs } = await engine.deliver('thing.happened', { n: 1 })
        const run = await engine.reached(runs[0]!, 'dead_lettered')
        expect(run.reason_code).toBe('gave_up_after')
        expect(run.reason).toMatch(
          /^It had not ended after .+, and its flow gives up after 3 s\. It waited for acme\.things\.create, which was tried once: it failed: provider_unavailable\.$/,
        )
      },
    )
  })

  it('undoes what it did, the last first, whatever it waits for', async () => {
    const calls: string[] = []
    const waiting = flow(async ({ use, sleep }) => {
      const { things } = use(acme)
      await things.create({ n: 1 }, { as: 'one', undo: () => things.remove({ n: 1 }) })
      await things.create({ n: 2 }, { as: 'two', undo: () => things.remove({ n: 2 }) })
      await sleep('3 days')
    })
    await withEngine(
      {
        flows: [waiting],
        call: (request: CallRequest) => {
          calls.push(`${request.operationName} ${(request.input as { n: number }).n}`)
          return made()
        },
      },
      async (engine) => {
        const { runs } = await engine.deliver('thing.happened', { n: 1 })
        const run = await engine.reached(runs[0]!, 'undone')
        expect(run.reason).toContain('It waited for its sleep to end.')
        expect(calls).toEqual(['things.create 1', 'things.create 2', 'things.remove 2', 'things.remove 1'])
      },
    )
  })

  it('learns first what came of what is in doubt', async () => {
    const calls: string[] = []
    const doubtful = flow(({ use }) => {
      const { things } = use(acme)
      return things.find({ n: 1 }, { undo: () => things.remove({ n: 1 }) })
    })
    const open = { answer: false }
    await withEngine(
      {
        flows: [doubtful],
        call: (request: CallRequest) => {
          calls.push(`${request.kind} ${request.operationName}`)
          if (request.operationName === 'things.remove') return made()
          if (request.kind === 'lookup' && !open.answer) {
            open.answer = true
            return failedFor('provider_unavailable', true)
          }
          return request.kind === 'lookup' ? made({ id: 'was made' }) : doubted()
        },
      },
      async (engine) => {
        const { runs } = await engine.deliver('thing.happened', { n: 1 })
        // The look-up is asked again in days: no test waits for that.
        const undone = async () => {
          await engine.database.pool.query(
            `update runs set waits = regexp_replace(waits, '"until":[0-9]+', '"until":0'), due_at = now()
             where id = $1 and state = 'undoing' and node_id is null and waits is not null`,
            [runs[0]],
          )
          const now = await engine.reached(runs[0]!, 'undoing', 'undone')
          expect(now.state).toBe('undone')
          return now
        }
        const run = await vi.waitFor(undone, { timeout: 60_000 })
        expect(run.reason_code).toBe('gave_up_after')
        expect(calls).toEqual([
          'send things.find',
          'lookup things.find',
          'lookup things.find',
          'send things.remove',
        ])
      },
    )
  })

  it('counts anew when a person lets it go on', async () => {
    const provider = { back: false }
    await withEngine(
      {
        flows: [
          flow(({ use }) => use(acme).things.create({}), { giveUpAfter: 4_000, retry: { first: 1, cap: 5 } }),
        ],
        call: () => (provider.back ? made() : failedFor('provider_unavailable', true)),
      },
      async (engine) => {
        const { runs } = await engine.deliver('thing.happened', { n: 1 })
        await engine.reached(runs[0]!, 'dead_lettered')
        provider.back = true
        await engine.operator.retry(runs[0]!, { actor: 'operator:test', tenant: 'default' })
        await engine.reached(runs[0]!, 'succeeded')
      },
    )
  })
})

describe('the time at which a run gives up', () => {
  const T = 1_795_338_000_000
  const move = (over: Partial<RunMove>): RunMove => ({ to: 'waiting', dueAt: T + HOUR, ...over }) as RunMove
  it('is never, where its flow says nothing', () => {
    expect(giveUpAt({ goesOnSince: T }, {})).toBe(Number.POSITIVE_INFINITY)
    expect(noLaterThan(Number.POSITIVE_INFINITY, move({ dueAt: undefined })).dueAt).toBeUndefined()
  })
  it('wakes who waits by itself, also for an outage without a time, and not who waits for a person', () => {
    const at = giveUpAt({ goesOnSince: T }, { giveUpAfter: '1 min' })
    expect(at).toBe(T + MINUTE)
    expect(noLaterThan(at, move({})).dueAt).toBe(at)
    expect(noLaterThan(at, move({ to: 'parked', dueAt: undefined })).dueAt).toBe(at)
    expect(noLaterThan(at, move({ dueAt: T + 1 })).dueAt).toBe(T + 1)
    expect(noLaterThan(at, move({ to: 'held', dueAt: undefined })).dueAt).toBeUndefined()
  })
  it.each<[readonly PendingStep[], number, string]>([
    [[], 0, 'Nothing of it had begun.'],
    [[], 1, 'It was between two steps.'],
    [[{ kind: 'operation', ...notTried('send', 1, T) }], 0, 'It waited for send, which was not tried.'],
    [
      [{ kind: 'operation', ...notTried('send', 1, T), attempts: 7, reason: 'It answered 503.' }],
      0,
      'It waited for send, which was tried 7 times: It answered 503.',
    ],
  ])('says where it stood (%#)', (pending, steps, words) => {
    const journal = Array.from({ length: steps }, () => ({})) as never
    const error = tooLong({ goesOnSince: T, pending, journal }, { giveUpAfter: '2 days' }, T + 50 * HOUR)
    expect(error.message).toBe(
      `It had not ended after 2 days 2 h, and its flow gives up after 2 days. ${words}`,
    )
  })
})
