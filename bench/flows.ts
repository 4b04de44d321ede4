import { round } from './parts/histogram.ts'
import { cpuMsOfTree } from './parts/cpu.ts'
import { setStage } from './parts/stage.ts'

/**
 * Webhooks per second through a flow with two outbound calls, sustained: the time counts until the last run has
 * ended, so that a backlog is no gain. Beside the same two calls made from a handler that keeps nothing.
 */
export async function flows(seconds: number): Promise<Record<string, unknown>> {
  const stage = await setStage()
  try {
    const bare = await stage.startBare()
    await stage.load(bare, { path: '/bare', seconds: 2 })
    const without = await stage.load(bare, { path: '/bare', seconds, prepare: 20_000 })
    const node = await stage.startNode()
    await stage.load(node, { seconds: 3 })
    await stage.drained()
    await stage.provider.ask({ reset: true })
    const before = { node: cpuMsOfTree(node.pid), database: stage.databaseCpuMs() }
    const load = await stage.load(node, { seconds, connections: 64 })
    const drainMs = await stage.drained()
    const cpuMsPerFlow = {
      node: round((cpuMsOfTree(node.pid) - before.node) / load.accepted, 3),
      database: round((stage.databaseCpuMs() - before.database) / load.accepted, 3),
    }
    const { calls } = await stage.provider.ask<{ calls: number }>({})
    const flowsPerSecond = round(load.accepted / (load.seconds + drainMs / 1000), 0)
    const size = await stage.database.pool.query<{ bytes: string }>(
      'select pg_database_size(current_database()) as bytes',
    )
    return {
      flowsPerSecond,
      bare: without.perSecond,
      ratio: round(flowsPerSecond / without.perSecond, 3),
      accepted: load.accepted,
      failed: load.failed,
      cpuMsPerFlow,
      calls,
      expectedCalls: load.accepted * 2,
      drainMs: round(drainMs, 0),
      acknowledged: load.latency,
      databaseBytes: Number(size.rows[0]!.bytes),
    }
  } finally {
    await stage.close()
  }
}
