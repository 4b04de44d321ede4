import { round } from './parts/histogram.ts'
import { setStage } from './parts/stage.ts'

const EVENTS = 100_000

/** From SIGKILL of a node to the first step that another has rescued; memory; bytes in the database per run. */
export async function recovery(seconds: number, events = EVENTS): Promise<Record<string, unknown>> {
  const stage = await setStage()
  try {
    const rss = async (child: {
      ask<Answer>(question: Record<string, unknown>): Promise<Answer>
    }): Promise<number> => round((await child.ask<{ rss: number }>({})).rss / 1048576, 0)
    const node = await stage.startNode()
    const idleMiB = await rss(node)
    const load = await stage.load(node, { seconds, connections: 64 })
    const underLoadMiB = await rss(node)
    await stage.drained()
    let sent = load.accepted
    while (sent < events) sent += (await stage.load(node, { seconds: 10, connections: 64 })).accepted
    await stage.drained()
    const afterEventsMiB = await rss(node)
    const { rows } = await stage.database.pool.query<{ bytes: string; runs: string }>(
      'select pg_database_size(current_database()) as bytes, count(*) as runs from runs',
    )

    const second = await stage.startNode(['worker'])
    const loading = stage.load(node, { rate: 300, seconds: 4, connections: 32 })
    await new Promise((resolve) => setTimeout(resolve, 2_000))
    const { rows: held } = await stage.database.pool.query<{ id: string }>(
      `select id from runs where node_id = $1 and state = 'running'`,
      [second.ready['node']],
    )
    second.kill('SIGKILL')
    const killedAt = performance.timeOrigin + performance.now()
    await loading
    await stage.drained()
    const rescued = await stage.database.pool.query<{ at: Date | null; runs: string }>(
      `select min(j.finished_at) as at, count(distinct l.run_id) as runs from ledger l join journal j on j.tenant = l.tenant and j.run_id = l.run_id and j.finished_at > l.at where l.action = 'run.rescued'`,
    )
    const first = rescued.rows[0]!.at
    return {
      killToFirstRescuedStepMs: first === null ? null : round(first.getTime() - killedAt, 0),
      rescuedRuns: Number(rescued.rows[0]!.runs),
      heldAtKill: held.length,
      idleMiB,
      underLoadMiB,
      afterEventsMiB,
      events: sent,
      bytesPerRun: round(Number(rows[0]!.bytes) / Number(rows[0]!.runs), 0),
    }
  } finally {
    await stage.close()
  }
}
