import type pg from 'pg'
import { latencyOf, type Latency } from './histogram.ts'

/** Times a named statement on every connection of a pool, from its being sent to its answer. */
export function timeStatements(
  pool: pg.Pool,
  name: string,
): {
  /** Of those since it was last asked. */
  taken(): Latency
} {
  let samples: number[] = []
  pool.on('connect', (client) => {
    const query = client.query.bind(client) as (...given: unknown[]) => unknown
    const timed = (...given: unknown[]): unknown => {
      const answer = query(...given)
      if ((given[0] as { name?: string } | null)?.name === name) {
        const begun = performance.now()
        void (answer as Promise<unknown>).then(
          () => samples.push(performance.now() - begun),
          () => undefined,
        )
      }
      return answer
    }
    client.query = timed as typeof client.query
  })
  return {
    taken() {
      const latency = latencyOf(samples)
      samples = []
      return latency
    },
  }
}
