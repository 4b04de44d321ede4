import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { acme, made } from '../../tests/support/engine.ts'
import { seededRandom, turn, type RunId } from '../base/index.ts'
import type { CallConnection, CallOutcome, CallRequest } from '../calls/index.ts'
import { defineFlow, type AnyFlow, type FlowContext } from '../define/index.ts'
import { createFakeClock } from '../testing/index.ts'
import type { ExecutionDeps } from './asking.ts'
import { Execution, type ExecutionEnd } from './execution.ts'
import type { ClaimedRun, JournalRow, PendingStep } from './run.ts'

/**
 * Random flows of calls, local steps, sleeps, `Promise.all`, `race` and loops are killed before or after each of
 * their commits and resumed. Which call is answered next depends only on which are under way, so that a resumed run
 * has the choice that the undisturbed one had; its history must then be the same, to the letter.
 */

type Program =
  | { readonly kind: 'call'; readonly n: number }
  | { readonly kind: 'local'; readonly n: number }
  | { readonly kind: 'sleep'; readonly ms: number }
  | { readonly kind: 'sequence' | 'all' | 'race'; readonly parts: readonly Program[] }
  | { readonly kind: 'loop'; readonly times: number; readonly part: Program }

const { program } = fc.letrec<{ program: Program }>((tie) => ({
  program: fc.oneof(
    { depthSize: 'small', maxDepth: 4, withCrossShrink: true },
    fc.record({ kind: fc.constant('call' as const), n: fc.integer({ min: 0, max: 2 }) }),
    fc.record({ kind: fc.constant('local' as const), n: fc.integer({ min: 0, max: 2 }) }),
    fc.record({ kind: fc.constant('sleep' as const), ms: fc.integer({ min: 1, max: 5000 }) }),
    fc.record({
      kind: fc.constantFrom('sequence' as const, 'all' as const, 'race' as const),
      parts: fc.array(tie('program'), { minLength: 1, maxLength: 3 }),
    }),
    fc.record({
      kind: fc.constant('loop' as const),
      times: fc.integer({ min: 1, max: 3 }),
      part: tie('program'),
    }),
  ),
}))

/** What the flow under test reaches outside: the scheduler that decides whose turn it is. */
const world = { local: (_name: string): Promise<void> => Promise.resolve() }

async function play(
  part: Program,
  context: FlowContext,
  log: unknown[],
  asked: Map<number, number>,
): Promise<unknown> {
  switch (part.kind) {
    case 'call': {
      const result = await context.use(acme).things.create({ n: part.n })
      log.push(['call', part.n, result['answer'], context.random(), context.now().getTime()])
      return result['answer']
    }
    case 'local': {
      const ordinal = (asked.get(part.n) ?? 0) + 1
      asked.set(part.n, ordinal)
      const result = await context.step(`local ${part.n}`, async () => {
        await world.local(`local ${part.n}#${ordinal}`)
        return part.n * 10
      })
      log.push(['local', result, context.uuid()])
      return result
    }
    case 'sleep':
      await context.sleep(part.ms)
      log.push('slept')
      return 'slept'
    case 'sequence': {
      const results = []
      for (const each of part.parts) results.push(await play(each, context, log, asked))
      return results
    }
    case 'all':
      return Promise.all(part.parts.map((each) => play(each, context, log, asked)))
    case 'race': {
      const winner = await Promise.race(part.parts.map((each) => play(each, context, log, asked)))
      log.push(['won', winner])
      return winner
    }
    case 'loop': {
      const results = []
      for (let i = 0; i < part.times; i++) results.push(await play(part.part, context, log, asked))
      return results
    }
  }
}

interface History {
  readonly result: unknown
  readonly journal: readonly string[]
  /** Effects at the provider, by idempotency key. */
  readonly effects: ReadonlyMap<string, number>
  readonly kills: number
}

type Crash = { readonly at: number; readonly when: 'before' | 'after' }

/** Runs the flow to its end, killing each of its executions at the commit that `crash` names for it. */
async function history(
  flow: AnyFlow,
  seed: string,
  crashes: readonly Crash[],
  sabotage = false,
): Promise<History> {
  const clock = createFakeClock()
  const journal: JournalRow[] = []
  const effects = new Map<string, number>()
  let pending: readonly PendingStep[] = []
  let claims = 0
  let kills = 0
  for (let turnOfCrash = 0; ;) {
    claims++
    const crash = crashes[turnOfCrash]
    const inFlight: { key: string; answer: () => void }[] = []
    let commits = 0
    let killed = false
    world.local = (key) =>
      new Promise((resolve) => {
        inFlight.push({ key, answer: resolve })
      })
    const deps: ExecutionDeps = {
      clock,
      random: seededRandom(seed),
      entering: () => {},
      mayLeave: () => true,
      retries: { heldUntil: () => undefined, made: () => {} },
      connectionFor: () =>
        Promise.resolve({ id: 'con_acme', name: 'acme', connector: acme } as unknown as CallConnection),
      releasedAnswer: () => Promise.resolve(undefined),
      findEvent: () => Promise.resolve(undefined),
      call: (request: CallRequest) =>
        new Promise<CallOutcome>((resolve) => {
          inFlight.push({
            key: request.idempotencyKey,
            answer: () => {
              effects.set(request.idempotencyKey, (effects.get(request.idempotencyKey) ?? 0) + 1)
              resolve(
                made({ answer: createHash('md5').update(request.idempotencyKey).digest('hex').slice(0, 6) }),
              )
            },
          })
        }),
      async write(write) {
        if (killed) return new Promise(() => {})
        commits++
        if (crash && commits === crash.at) {
          if (crash.when === 'after' && write.journal) journal.push(write.journal)
          killed = true
          return new Promise(() => {})
        }
        if (write.journal) journal.push(write.journal)
        return Promise.resolve('written')
      },
    }
    const rows = sabotage
      ? journal
          .toSorted((a, b) => (a.name + a.ordinal < b.name + b.ordinal ? -1 : 1))
          .map((row, i) => ({ ...row, seq: i + 1 }))
      : [...journal].sort((a, b) => a.seq - b.seq)
    const run = {
      tenant: 'default',
      id: 'run_property' as RunId,
      rootRunId: 'run_property' as RunId,
      flow: 'test',
      flowVersion: 1,
      laneKey: undefined,
      laneOpen: false,
      state: 'running',
      fence: '1',
      claims,
      claimedAt: clock.now(),
      createdAt: 1_000,
      goesOnSince: 1_000,
      replayOf: undefined,
      connector: 'acme',
      undoTo: undefined,
      reasonCode: undefined,
      reason: undefined,
      pending,
      journal: rows,
      lastAttempts: [],
      event: {} as never,
    } satisfies ClaimedRun
    const execution = new Execution(run, flow, { data: {} } as never, 'run', deps)
    let end: ExecutionEnd | undefined
    void execution.start().then((ended) => {
      end = ended
    })
    // oxlint-disable-next-line no-unmodified-loop-condition -- both are set by callbacks
    while (!end && !killed) {
      for (let i = 0; i < 12; i++) await turn()
      const [first] = inFlight.sort((a, b) => (a.key < b.key ? -1 : 1))
      if (first) {
        inFlight.shift()
        first.answer()
      } else if (!end && !killed) await clock.advance(50)
    }
    if (killed) {
      kills++
      turnOfCrash++
      continue
    }
    if (end!.as === 'suspended') {
      pending = end!.pending
      claims = 0
      const due = Math.min(...pending.flatMap((step) => (step.until === null ? [] : [step.until])))
      await clock.advance(Math.max(0, due - clock.now()))
      continue
    }
    if (end!.as !== 'returned')
      throw new Error(`ended as ${end!.as}: ${'error' in end! ? String(end.error) : ''}`)
    return {
      result: end!.value,
      journal: [...journal].sort((a, b) => a.seq - b.seq).map((row) => `${row.name}#${row.ordinal}`),
      effects,
      kills,
    }
  }
}

const flowOf = (part: Program): AnyFlow =>
  defineFlow({
    name: 'test',
    on: acme.on('thing.happened'),
    async run(context) {
      const log: unknown[] = []
      const result = await play(part, context as FlowContext, log, new Map())
      // The time of a delivered step is part of its history only within one life of its row.
      return {
        result,
        log: JSON.parse(
          JSON.stringify(log, (_, value: unknown) =>
            typeof value === 'number' && value > 1e12 ? 'time' : value,
          ),
        ) as unknown,
      }
    },
  }) as AnyFlow

describe('a run that is killed and resumed', () => {
  it('has the history of the undisturbed one, whatever its flow is made of', async () => {
    let kills = 0
    await fc.assert(
      fc.asyncProperty(
        program,
        fc.string(),
        fc.array(
          fc.record({
            at: fc.integer({ min: 1, max: 6 }),
            when: fc.constantFrom('before' as const, 'after' as const),
          }),
          { maxLength: 6 },
        ),
        async (part, seed, crashes) => {
          const flow = flowOf(part)
          const undisturbed = await history(flow, seed, [])
          const disturbed = await history(flow, seed, crashes)
          expect(disturbed.result).toEqual(undisturbed.result)
          expect(disturbed.journal).toEqual(undisturbed.journal)
          expect([...disturbed.effects.keys()].sort()).toEqual([...undisturbed.effects.keys()].sort())
          kills += disturbed.kills
        },
      ),
      { numRuns: 1000 },
    )
    // About 290 are usual: most flows are small, and are over before they can be killed.
    expect(kills).toBeGreaterThan(100)
  })

  it('is killed at every one of its commits, before and after', async () => {
    const part: Program = {
      kind: 'sequence',
      parts: [
        {
          kind: 'all',
          parts: [
            { kind: 'call', n: 1 },
            { kind: 'loop', times: 2, part: { kind: 'call', n: 2 } },
            { kind: 'local', n: 1 },
          ],
        },
        {
          kind: 'race',
          parts: [
            { kind: 'call', n: 1 },
            { kind: 'sleep', ms: 500 },
          ],
        },
        { kind: 'local', n: 2 },
      ],
    }
    const flow = flowOf(part)
    const undisturbed = await history(flow, 'every', [])
    for (let at = 1; at <= undisturbed.journal.length; at++)
      for (const when of ['before', 'after'] as const) {
        const disturbed = await history(flow, 'every', [{ at, when }])
        expect(disturbed.kills).toBe(1)
        expect(disturbed.result).toEqual(undisturbed.result)
      }
  })

  it('would tell another story if results were not delivered in the order of the journal', async () => {
    const flow = flowOf({
      kind: 'all',
      parts: [
        { kind: 'call', n: 0 },
        { kind: 'call', n: 1 },
        { kind: 'call', n: 2 },
        { kind: 'local', n: 1 },
      ],
    })
    const stories = new Set<string>()
    for (const at of [2, 3, 4])
      stories.add(JSON.stringify((await history(flow, 'sabotage', [{ at, when: 'after' }], true)).result))
    stories.add(JSON.stringify((await history(flow, 'sabotage', [])).result))
    expect(stories.size).toBeGreaterThan(1)
  })
})
