import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { pause, SECOND, seededRandom, type Random } from '../../base/index.ts'
import type { LimitDefinition, Priority } from '../../define/index.ts'
import { exchange, NEW_BUDGET, type BudgetState } from '../../resilience/index.ts'
import { busiestWindow, type Used } from '../../resilience/busiestWindow.fixture.ts'
import { createFakeClock, type FakeClock } from '../../testing/index.ts'
import { callOf, connectionTo, connectorOf, createThing } from '../calls.fixture.ts'
import type { BudgetAuthority, Granted, LimitAsk } from './authority.ts'
import { Budgets, type BudgetTicket } from './budgets.ts'

/** What may befall a node, and its questions, in one trial. */
const trial = fc.record({
  seed: fc.integer({ min: 0, max: 2 ** 31 }),
  nodes: fc.integer({ min: 2, max: 4 }),
  allowed: fc.integer({ min: 1, max: 24 }),
  windowMs: fc.constantFrom(SECOND, 3 * SECOND, 70 * SECOND),
  /** Longest time that a call is made ready in, between its leave and its first byte. */
  heldUpMs: fc.constantFrom(0, 0, 400, 4000),
  /** Longest time that a question, and its answer, is on its way. */
  roadMs: fc.constantFrom(0, 10, 120),
  /** Of a hundred questions, how many are lost on their way there or back. */
  lostOfHundred: fc.constantFrom(0, 0, 10, 40),
  /** Of a hundred steps, in how many a node dies and another one begins. */
  diesOfHundred: fc.constantFrom(0, 0, 3),
  /** Of a hundred calls, how many are not made after all: a breaker opened, or it is withdrawn. */
  notMadeOfHundred: fc.constantFrom(0, 20),
  /** The provider says what is left, and what it allows. */
  tells: fc.boolean(),
})
type Trial = typeof trial extends fc.Arbitrary<infer Of> ? Of : never

const STEPS = 60
const STEP_MS = 100
const LONG_STEP_MS = 2000
/** From the first byte to when the provider counts it: for all calls alike. */
const TO_PROVIDER_MS = 30

/** Plays a trial; the most that the provider counted in any window. */
async function busiest(one: Trial, mayLeave = (ticket: BudgetTicket) => ticket.leaves()): Promise<number> {
  const clock = createFakeClock()
  const random = seededRandom(String(one.seed))
  const chance = (ofHundred: number): boolean => random.next() * 100 < ofHundred
  const provider = new StrictProvider(one, clock)
  const connection = connectionTo(
    'http://127.0.0.1:1',
    connectorOf(createThing('natural'), { limits: [provider.limit] }),
  )
  const store: { state: BudgetState } = { state: NEW_BUDGET }
  let lives = 0
  const begin = (): Life => new Life(`n${lives++}`, { one, clock, random, store, limit: provider.limit })
  const living = Array.from({ length: one.nodes }, begin)

  const makeCall = async (life: Life, priority: Priority): Promise<void> => {
    const call = callOf(connection, createThing('natural'), { flow: `${priority} flow`, priority })
    const leave = await life.budgets.admit(call)
    if (leave.as !== 'admitted') return
    const { ticket } = leave
    if (chance(one.notMadeOfHundred)) ticket.notMade()
    else {
      await pause(clock, random.next() * one.heldUpMs)
      if (mayLeave(ticket) && life.isAlive) ticket.learn(await provider.answer(random), undefined)
    }
    ticket.close()
  }

  for (let step = 0; step < STEPS; step++) {
    for (const [i, life] of living.entries()) {
      if (chance(one.diesOfHundred)) {
        life.isAlive = false
        living[i] = begin()
      }
      const wanted = Math.floor(random.next() ** 3 * one.allowed)
      const priority = (['interactive', 'normal', 'bulk'] as const)[Math.floor(random.next() * 3)]!
      for (let n = 0; n < wanted; n++) void makeCall(living[i]!, priority)
    }
    await clock.advance(one.windowMs > 10 * SECOND ? LONG_STEP_MS : STEP_MS)
  }
  return busiestWindow(provider.counted, one.windowMs)
}

/** A node's budgets, for as long as it lives. */
class Life {
  isAlive = true
  readonly budgets: Budgets

  constructor(node: string, { one, clock, random, store, limit }: Around) {
    const authority: BudgetAuthority = {
      exchange: async (asks) => {
        await pause(clock, random.next() * one.roadMs)
        if (!this.isAlive || random.next() * 100 < one.lostOfHundred / 2) throw new Error('lost on its way')
        const answers = exchangeAll(store, limit, asks, node, clock.now())
        await pause(clock, random.next() * one.roadMs)
        if (random.next() * 100 < one.lostOfHundred / 2) throw new Error('lost on its way back')
        return answers
      },
    }
    this.budgets = new Budgets({ clock, authority, patienceMs: 500 })
    this.budgets.start()
  }
}

interface Around {
  readonly one: Trial
  readonly clock: FakeClock
  readonly random: Random
  readonly store: { state: BudgetState }
  readonly limit: LimitDefinition
}

function exchangeAll(
  store: { state: BudgetState },
  limit: LimitDefinition,
  asks: readonly LimitAsk[],
  node: string,
  now: number,
): Granted {
  return asks.map(({ ask }) => {
    const { state, grant } = exchange(store.state, limit, { ...ask, node }, now)
    store.state = JSON.parse(JSON.stringify(state)) as BudgetState
    return { now, grant }
  })
}

/** Counts what reaches it, in a window that moves, to the millisecond. */
class StrictProvider {
  readonly limit: LimitDefinition
  readonly counted: Used[] = []
  readonly #tells: boolean
  readonly #clock: FakeClock

  constructor({ allowed, windowMs, tells }: Trial, clock: FakeClock) {
    this.limit = { name: 'all', allowed, windowMs, source: 'test' }
    this.#tells = tells
    this.#clock = clock
  }

  async answer(random: Random) {
    await pause(this.#clock, TO_PROVIDER_MS)
    const now = this.#clock.now()
    this.counted.push([now, 1])
    const { allowed, windowMs } = this.limit
    const used = this.counted.filter(([at]) => at > now - windowMs).length
    const headers: Record<string, string> = this.#tells
      ? {
          'ratelimit-policy': `"all";q=${allowed};w=${windowMs / SECOND}`,
          ratelimit: `"all";r=${Math.max(0, allowed - used)}`,
        }
      : {}
    await pause(this.#clock, random.next() * 200)
    return { status: used > allowed ? 429 : 200, headers, json: undefined, text: '' }
  }
}

describe('a provider that counts strictly', () => {
  it('counts no more than it allows, whatever becomes of nodes, of what they ask and of calls on their way', async () => {
    await fc.assert(
      fc.asyncProperty(trial, async (one) => {
        expect(await busiest(one)).toBeLessThanOrEqual(one.allowed)
      }),
      { numRuns: 40 },
    )
  })

  it('and this check notices calls that leave whenever they are ready', async () => {
    const careless = await fc.check(
      fc.asyncProperty(
        trial,
        async (one) => (await busiest({ ...one, heldUpMs: 4000 }, () => true)) <= one.allowed,
      ),
      { numRuns: 1000, endOnFailure: true },
    )
    expect(careless.failed).toBe(true)
  })
})
