import { round } from './parts/histogram.ts'
import { setStage, type Stage } from './parts/stage.ts'
import type { Child } from './parts/child.ts'

/** How often healthy and poisoned are measured, in turn: what the machine does meanwhile meets both. */
const ROUNDS = 4

/**
 * Flows per second of 490 lanes, as many as the machine can do, while one more is poisoned that gets every fiftieth
 * webhook: its first run is refused by the provider for now and keeps its lane, and the others of that lane pile up
 * behind it. Beside the same lanes, all healthy. Only runs of the 490 count, until the last of them has ended.
 */
export async function lanes(seconds: number): Promise<Record<string, unknown>> {
  const stage = await setStage()
  try {
    const node = await stage.startNode()
    await stage.load(node, { type: 'payment.laned', seconds: 3 })
    await stage.drained()
    const healthy: Measured[] = []
    const poisoned: Measured[] = []
    for (let round = 0; round < ROUNDS; round++) {
      // Each goes first as often as the other.
      const order = round % 2 === 0 ? (['laned', 'poisoned'] as const) : (['poisoned', 'laned'] as const)
      for (const flow of order)
        (flow === 'laned' ? healthy : poisoned).push(await measure(stage, node, flow, seconds / ROUNDS))
    }
    const perSecond = { healthy: rate(healthy), poisoned: rate(poisoned) }
    const { rows } = await stage.database.pool.query<{ waiting: number; ended: number }>(
      `select count(*) filter (where lane_open)::int as waiting, count(*) filter (where not lane_open)::int as ended
       from runs where flow = 'poisoned' and lane_key = '0'`,
    )
    return {
      othersRatio: round(perSecond.poisoned / perSecond.healthy, 3),
      othersPerSecond: { healthy: round(perSecond.healthy, 0), poisoned: round(perSecond.poisoned, 0) },
      inPoisonedLane: rows[0],
      rounds: ROUNDS,
    }
  } finally {
    await stage.close()
  }
}

interface Measured {
  readonly runs: number
  readonly seconds: number
}

function rate(rounds: readonly Measured[]): number {
  return (
    rounds.reduce((sum, { runs }) => sum + runs, 0) / rounds.reduce((sum, { seconds }) => sum + seconds, 0)
  )
}

async function measure(
  stage: Stage,
  node: Child,
  flow: 'laned' | 'poisoned',
  seconds: number,
): Promise<Measured> {
  const before = await others(stage, flow)
  const begun = performance.now()
  await stage.load(node, { type: `payment.${flow}`, seconds, connections: 64 })
  let now = await others(stage, flow)
  while (now.open > 0) {
    await new Promise((resolve) => setTimeout(resolve, 20))
    now = await others(stage, flow)
  }
  return { runs: now.ended - before.ended, seconds: (performance.now() - begun) / 1000 }
}

/** Runs of the lanes that nobody poisons. */
async function others({ database }: Stage, flow: string): Promise<{ open: number; ended: number }> {
  const { rows } = await database.pool.query<{ open: number; ended: number }>(
    `select count(*) filter (where state <> 'succeeded')::int as open, count(*) filter (where state = 'succeeded')::int as ended
     from runs where flow = $1 and lane_key <> '0'`,
    [flow],
  )
  return rows[0]!
}
