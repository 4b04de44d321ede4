import { round } from './parts/histogram.ts'
import { setStage } from './parts/stage.ts'

/** Durable acknowledgements per second, beside the same intake with nothing behind it; and at a steady rate with flows. */
export async function intake(seconds: number): Promise<Record<string, unknown>> {
  const stage = await setStage()
  try {
    const node = await stage.startNode(['intake'])
    const bare = await stage.startBare()
    const result: Record<string, unknown> = {}
    let ratio = 0
    for (const connections of [16, 64]) {
      const load = { type: 'payment.noted', connections, seconds }
      await stage.load(bare, { ...load, seconds: 2 })
      const without = await stage.load(bare, { ...load, prepare: 30_000 })
      await stage.load(node, { ...load, seconds: 2 })
      const durable = await stage.load(node, load)
      ratio = round(durable.perSecond / without.perSecond, 3)
      result[`connections${connections}`] = { durable, without, ratio }
    }
    await node.stop()
    const whole = await stage.startNode()
    await stage.load(whole, { rate: 200, connections: 32, seconds: 3 })
    const steady = await stage.load(whole, { rate: 200, connections: 32, seconds })
    await stage.drained()
    return { ...result, steady200: steady, ratio }
  } finally {
    await stage.close()
  }
}
