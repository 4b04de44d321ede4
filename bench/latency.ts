import type { Latency } from './parts/histogram.ts'
import { setStage } from './parts/stage.ts'

/** From the moment a webhook was due to be sent to the last effect of its flow at the provider. */
export async function latency(seconds: number): Promise<Record<string, unknown>> {
  const stage = await setStage()
  try {
    const node = await stage.startNode()
    await stage.load(node, { rate: 100, seconds: 3, connections: 16 })
    await stage.drained()
    const result: Record<string, unknown> = {}
    for (const rate of [10, 200]) {
      await stage.provider.ask({ reset: true })
      const load = await stage.load(node, { rate, seconds, connections: 32 })
      await stage.drained()
      const { latency } = await stage.provider.ask<{ latency: Latency }>({})
      result[`rate${rate}`] = { lastEffect: latency, acknowledged: load.latency, failed: load.failed }
    }
    return result
  } finally {
    await stage.close()
  }
}
