import { isDeepStrictEqual } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { FAULTS, planTrial, STEPS, type Trial } from './plan.ts'
import { HASTY, SABOTAGED } from './sabotage.ts'
import { playTrial, type Outcome } from './trial.ts'
import { openWorld, type World, type WorldOptions } from './world.ts'

/** The short form meets every boundary of every step; `npm run test:in-doubt` plays a thousand. */
const TRIALS = Number(process.env['TRESTLE_TRIALS'] ?? 80)
/** Times that a trial is played which must not be disturbed. */
const TRIES = 5
const FROM = Number(process.env['TRESTLE_FROM'] ?? 0)

/** What was played last, when it is so; else after several tries. */
async function untilSo<Played>(
  play: () => Promise<Played>,
  isSo: (played: Played) => boolean,
): Promise<Played> {
  for (let tried = 1; ; tried++) {
    const played = await play()
    if (tried === TRIES || isSo(played)) return played
  }
}

let world: World
beforeAll(async () => {
  world = await openWorld('in doubt')
})
afterAll(() => world.stop())

describe('the appointment flow, with faults at the boundaries of its steps', () => {
  it(
    `has its effects exactly as specified in ${TRIALS} seeded trials`,
    { timeout: 600_000 + TRIALS * 6_000 },
    async () => {
      const outcomes: Outcome[] = []
      for (let seed = FROM; seed < FROM + TRIALS; seed++)
        outcomes.push(await playTrial(world, planTrial(seed)))
      const wrong = outcomes
        .filter((outcome) => outcome.wrong.length > 0)
        .map((outcome) => ({
          ...outcome,
          trial: JSON.stringify(outcome.trial),
          effects: outcome.effects.join(' '),
        }))
      expect(wrong).toEqual([])
      expect(world.all.flatMap((twin) => twin.ownErrors())).toEqual([])
      const met = coverage(outcomes)
      process.stderr.write(`${JSON.stringify({ trials: TRIALS, ...met })}\n`)
      // Which kinds met a fault at which boundary: all of them, also in the short form.
      expect(Object.keys(met.byKindAndBoundary).sort()).toEqual(
        Object.keys(FAULTS)
          .flatMap((boundary) => ['key', 'lookup', 'natural', 'none'].map((kind) => `${kind} ${boundary}`))
          .sort(),
      )
    },
  )

  it('goes on with an undo in doubt, though a person had settled an earlier step', async () => {
    // Seed 985, in which it was held: the flow was thought to have to ask for its own undo.
    const play = async (): Promise<Outcome> => {
      const outcome = await playTrial(world, planTrial(985))
      expect(outcome).toMatchObject({ end: 'undone', wrong: [] })
      return outcome
    }
    // Where this machine stood still, an answer was too late and a person was asked once more.
    expect(await untilSo(play, ({ asked }) => asked === 1)).toMatchObject({ asked: 1 })
  })

  it('is the same trial with the same seed', { timeout: 600_000 }, async () => {
    for (const seed of [3, 14, 25, 36, 48, 57]) {
      const plan = planTrial(seed)
      expect(planTrial(seed)).toEqual(plan)
      const both = async () => [await playTrial(world, plan), await playTrial(world, plan)] as const
      // Where this machine stood still in one of them, something was tried once more.
      const [first, second] = await untilSo(both, ([one, other]) => isDeepStrictEqual(one, other))
      expect(second).toEqual(first)
    }
  })
})

describe('CONTROL: the same trials find', () => {
  const play = async (
    options: WorldOptions,
    plans: readonly Partial<Trial>[],
  ): Promise<readonly string[][]> => {
    const broken = await openWorld('sabotage', options)
    try {
      const found: string[][] = []
      for (const [seed, plan] of plans.entries()) {
        const trial: Trial = {
          seed,
          carrier: 'sms',
          ending: 'succeeds',
          cancelAt: undefined,
          faults: [],
          ...plan,
        }
        found.push([...(await playTrial(broken, trial)).wrong])
      }
      return found
    } finally {
      await broken.stop()
    }
  }
  const lost = (step: keyof typeof STEPS) =>
    [{ step, boundary: 'after_commit', fault: 'node_dies_before_answer', away: 0 }] as const

  it(
    'what is sent again without asking, with another key, or without anybody knowing',
    { timeout: 600_000 },
    async () => {
      const found = [
        ['message.sent happened 2 times instead of 1'],
        ['invoice.created happened 2 times instead of 1'],
        ['letter.posted happened 2 times instead of 1'],
        [],
      ]
      const sabotaged = () =>
        play({ flowOver: SABOTAGED }, [
          { faults: lost('sms') },
          { faults: lost('invoice') },
          { carrier: 'letter', faults: lost('letter') },
          { faults: [] },
        ])
      expect(await untilSo(sabotaged, (seen) => isDeepStrictEqual(seen, found))).toEqual(found)
    },
  )

  it('what is asked for before the provider can know it', { timeout: 600_000 }, async () => {
    const hasty = async () =>
      (
        await play({ flowOver: HASTY }, [
          { faults: [{ step: 'sms', boundary: 'after_commit', fault: 'reset_after_acting', away: 0 }] },
        ])
      )[0]!
    // Asked too late, because this machine stood still, it would be right by chance.
    const found = await untilSo(hasty, (wrong) => wrong.length > 0)
    expect(found).toEqual(['message.sent happened 2 times instead of 1'])
  })

  it('what is not taken back', async () => {
    const [found] = await play({ forgets: 'undo of the invoice' }, [{ ending: 'fails' }])
    expect(found).toEqual(['invoice.voided happened 0 times instead of 1'])
  })
})

function coverage(outcomes: readonly Outcome[]) {
  const byKindAndBoundary: Record<string, number> = {}
  const ends: Record<string, number> = {}
  for (const { played, end } of outcomes) {
    ends[end] = (ends[end] ?? 0) + 1
    for (const one of played) {
      const [step = '', boundary] = one.split(' ')
      const key = `${STEPS[step as keyof typeof STEPS]} ${boundary}`
      byKindAndBoundary[key] = (byKindAndBoundary[key] ?? 0) + 1
    }
  }
  return { ends, byKindAndBoundary, asked: outcomes.reduce((sum, { asked }) => sum + asked, 0) }
}
