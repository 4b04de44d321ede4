/** A node that is told to stop while calls are under way, on a clock that the test moves. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { turn, type Clock } from '../../src/base/index.ts'
import type { CallOutcome, CallRequest } from '../../src/calls/index.ts'
import { defineFlow, type AnyFlow } from '../../src/define/index.ts'
import { createFakeClock, type FakeClock } from '../../src/testing/index.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { acme, made, startTestEngine, type TestEngine } from '../support/engine.ts'

let database: TestDatabase
beforeEach(async () => {
  database = await createTestDatabase()
})
afterEach(() => database.drop())

const calling = (operation: 'create' | 'post'): AnyFlow =>
  defineFlow({
    name: operation,
    on: acme.on('thing.happened'),
    async run({ use }) {
      await use(acme).things[operation]({})
      await use(acme).things.upsert({})
    },
  })

/** A provider that answers when the test says so. */
function slowProvider() {
  const waiting: { readonly request: CallRequest; readonly answer: (outcome: CallOutcome) => void }[] = []
  let seen: () => void = () => {}
  return {
    waiting,
    call: (request: CallRequest) =>
      new Promise<CallOutcome>((answer) => {
        waiting.push({ request, answer })
        seen()
      }),
    /** Resolves when so many calls are under way. */
    async has(count: number): Promise<void> {
      while (waiting.length < count) await new Promise<void>((resolve) => (seen = resolve))
    },
  }
}

interface Stopping {
  readonly clock: FakeClock
  readonly engine: TestEngine
  readonly provider: ReturnType<typeof slowProvider>
  readonly isOver: () => boolean
  readonly over: Promise<void>
}

const RUNS = 20
/** What is promised. */
const STOP_LIMIT_MS = 10_000

/** Twenty runs whose calls are with the provider, and a node that was just told to stop. */
async function stopUnderWay(
  operation: 'create' | 'post',
  clockOf: (clock: FakeClock) => Clock = (clock) => clock,
): Promise<Stopping> {
  const clock = createFakeClock(Date.now())
  const provider = slowProvider()
  const engine = await startTestEngine(database, {
    flows: [calling(operation)],
    call: provider.call,
    clock: clockOf(clock),
  })
  await Promise.all(Array.from({ length: RUNS }, (_, n) => engine.deliver('thing.happened', { n })))
  await provider.has(RUNS)
  let over = false
  const stopping = engine.engine.stop().then(() => {
    over = true
  })
  // What it was taking when it was told ends first, by the database's time: the clock stands still for that.
  await quiet(engine)
  return { clock, engine, provider, isOver: () => over, over: stopping }
}

/** Resolves when nothing has been asked of the database for some turns. */
async function quiet({ database: { pool } }: TestEngine): Promise<void> {
  for (let still = 0; still < 20; still++) {
    await turn()
    if (pool.totalCount > pool.idleCount || pool.waitingCount > 0) still = 0
  }
}

interface Counts {
  readonly queued: number
  readonly withNode: number
  readonly journaled: number
}

async function countOf(engine: TestEngine): Promise<Counts> {
  const { rows } = await engine.database.pool.query<Counts>(
    `select count(*) filter (where state = 'queued' and node_id is null)::int as queued, count(*) filter (where node_id is not null)::int as "withNode",
       (select count(*)::int from journal) as journaled from runs`,
  )
  return rows[0]!
}

describe('a node that stops while calls are under way', () => {
  it('has handed back every run when 10 s are over, and not before', async () => {
    const { clock, engine, isOver, over } = await stopUnderWay('create')
    await clock.advance(STOP_LIMIT_MS - 1)
    expect(isOver()).toBe(false)
    expect(await countOf(engine)).toEqual({ queued: 0, withNode: RUNS, journaled: 0 })
    await clock.advance(1)
    await over
    expect(await countOf(engine)).toEqual({ queued: RUNS, withNode: 0, journaled: 0 })
    await engine.database.close()
  })

  it('waits no longer than its calls: what they came to is in the journal, and the runs are handed back', async () => {
    const { engine, provider, over } = await stopUnderWay('create')
    for (const { answer } of provider.waiting) answer(made({ id: 1 }))
    await over
    expect(await countOf(engine)).toEqual({ queued: RUNS, withNode: 0, journaled: RUNS })
    expect(provider.waiting).toHaveLength(RUNS)
    await engine.database.close()
  })

  it('lets a call end whose outcome nobody could learn, for as long as an exchange may take', async () => {
    const { clock, engine, provider, isOver, over } = await stopUnderWay('post')
    await clock.advance(STOP_LIMIT_MS + 20_000)
    expect(isOver()).toBe(false)
    for (const { answer } of provider.waiting) answer(made({ id: 1 }))
    await over
    expect(await countOf(engine)).toEqual({ queued: RUNS, withNode: 0, journaled: RUNS })
    await engine.database.close()
  })

  it('CONTROL: a node that waits without a limit is noticed', async () => {
    const unlimited = (clock: FakeClock): Clock => ({
      now: () => clock.now(),
      monotonic: () => clock.monotonic(),
      after: (ms, wake) => (ms === STOP_LIMIT_MS ? () => {} : clock.after(ms, wake)),
    })
    const { clock, engine, provider, isOver, over } = await stopUnderWay('create', unlimited)
    await clock.advance(STOP_LIMIT_MS)
    expect(isOver()).toBe(false)
    expect(await countOf(engine)).toMatchObject({ withNode: RUNS })
    for (const { answer } of provider.waiting) answer(made({ id: 1 }))
    await over
    await engine.database.close()
  })
})
