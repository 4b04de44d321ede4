import { round } from './parts/histogram.ts'
import { setStage } from './parts/stage.ts'
import type { Child } from './parts/child.ts'

/**
 * Flows per second with one node for intake and 1, 2 and 4 worker processes on one PostgreSQL. The webhooks are all
 * there before the workers are let go, so that what is measured is the workers; the sender, the provider and
 * PostgreSQL share the machine with them.
 */
export async function nodes(seconds: number): Promise<Record<string, unknown>> {
  const result: Record<string, unknown> = {}
  let alone = 0
  for (const workers of [1, 2, 4]) {
    const flowsPerSecond = await withWorkers(workers, seconds)
    alone ||= flowsPerSecond
    result[`workers${workers}`] = { flowsPerSecond, ratio: round(flowsPerSecond / alone, 2) }
  }
  return result
}

async function withWorkers(count: number, seconds: number): Promise<number> {
  const stage = await setStage()
  try {
    const intake = await stage.startNode(['intake'])
    // Tables, caches and the compiler are warm.
    const first = await stage.startNode(['worker'])
    await stage.load(intake, { seconds: 2 })
    await stage.drained()
    await first.stop()

    const load = await stage.load(intake, { seconds: Math.max(2, seconds / 2), connections: 64 })
    const workers: Child[] = await Promise.all(
      Array.from({ length: count }, () => stage.startNode(['worker'])),
    )
    const drainMs = await stage.drained()
    for (const worker of workers) await worker.stop()
    return round(load.accepted / (drainMs / 1000), 0)
  } finally {
    await stage.close()
  }
}
