import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { EmbeddedPostgres } from '../../src/db/embedded/index.ts'
import { compileEntries } from '../crash/build.ts'
import type { Violation } from '../crash/invariant.ts'
import type { Sabotage } from '../crash/sabotage.ts'
import { startPostgres } from '../crash/world.ts'
import { runChaos, type ChaosReport } from './chaos.ts'

/** The short form, on the sources as they are. The long form is `npm run test:chaos`, two minutes and more. */
const SEED = process.env['TRESTLE_CHAOS_SEED'] ?? 'short'
const LIMIT_MS = 15 * 60_000
/** One round's kills may meet nodes that have nothing under way. */
const CONTROL_TRIES = 6

let folder: string
let postgres: EmbeddedPostgres
let entries: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'trestle-chaos-short-'))
  entries = await compileEntries()
  postgres = await startPostgres(folder, { max_connections: '400' })
  postgres.watch()
})
afterAll(async () => {
  await postgres.stop()
  await rm(folder, { recursive: true, force: true })
})

const chaos = (over: {
  seconds: number
  postgresRestarts: number
  sabotage?: Sabotage
  victims?: readonly string[]
  settleMs?: number
  seed?: string
}): Promise<ChaosReport> => runChaos({ seed: SEED, rate: 40, postgres, entries, ...over })

it(
  'four nodes, one of which is killed every few seconds, and PostgreSQL restarted: nothing lost, nothing twice',
  async () => {
    const report = await chaos({ seconds: 15, postgresRestarts: 1 })
    expect(report.violations).toEqual([])
    expect(report.withoutRetryAfter).toBe(0)
    expect(report.kills + report.zombies).toBeGreaterThanOrEqual(3)
    expect(report.postgresRestarts).toBe(1)
    expect(report.acknowledged).toBeGreaterThan(100)
  },
  LIMIT_MS,
)

describe('the check notices', () => {
  const workers = ['worker-1', 'worker-2', 'intake-worker']
  const controls: readonly [what: string, sabotage: Sabotage, victims: string[], as: Violation['as']][] = [
    ['an answer before the commit', 'answers_before_commit', ['intake-api', 'intake-worker'], 'lost'],
    ['dead nodes whose runs nobody takes', 'rescues_nobody', workers, 'lost'],
  ]
  it.concurrent.each(controls)(
    '%s',
    async (_what, sabotage, victims, as) => {
      // They wait more than they work, so they run at the same time, each on a database of its own.
      const noticed = new Set<string>()
      for (let n = 1; n <= CONTROL_TRIES && !noticed.has(as); n++) {
        const seed = `${SEED}-${n}`
        const one = { seconds: 12, postgresRestarts: 0, sabotage, victims, settleMs: 6_000, seed }
        for (const violation of (await chaos(one)).violations) noticed.add(violation.as)
      }
      expect([...noticed]).toContain(as)
    },
    LIMIT_MS,
  )
})
