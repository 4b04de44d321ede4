import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { EmbeddedPostgres } from '../../src/db/index.ts'
import { compileEntries } from './build.ts'
import { runCampaign, type Report } from './campaign.ts'
import { choosePoints, parsePoint, tracesNodes, tracesServer, type Point } from './points.ts'
import { whyNoServerTrace, whyNoTrace } from './processes.ts'
import type { Sabotage } from './sabotage.ts'
import { startPostgres } from './world.ts'

/**
 * The short form of the crash tests, on the sources as they are. The long form, with 300 points, 100,000 deliveries
 * and power cuts, is `npm run test:crash`. What is found is replayed alone by what the failure names:
 * `npm run test:crash -- --seed short --only runs.claimed:2`.
 */
const SEED = process.env['TRESTLE_CRASH_SEED'] ?? 'short'
const POINTS = 50
const DELIVERIES_PER_POINT = 40
const LAST_SERVER_CALL = 30
const LIMIT_MS = 20 * 60_000
/** One strike may find nothing under way that the lost protection would have saved. */
const CONTROL_TRIES = 5

const points = choosePoints(POINTS, SEED, LAST_SERVER_CALL)
const traced = points.filter(tracesNodes)
const tracedServer = points.filter(tracesServer)
const others = points.filter((point) => !tracesNodes(point) && !tracesServer(point))

let folder: string
let postgres: EmbeddedPostgres
let entries: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'trestle-crash-short-'))
  entries = await compileEntries()
  postgres = await startPostgres(folder)
  postgres.watch()
})
afterAll(async () => {
  await postgres.stop()
  await rm(folder, { recursive: true, force: true })
})

const campaign = (
  points: readonly Point[],
  over: { sabotage?: Sabotage; settleMs?: number; seed?: string } = {},
) =>
  runCampaign({
    points,
    seed: SEED,
    deliveries: points.length * DELIVERIES_PER_POINT,
    postgres,
    entries,
    ...over,
  })

/** Nothing of what was acknowledged is lost, nothing is done twice, and every point proved that it fired. */
function expectClean(report: Report, points: readonly Point[]): void {
  expect(report.violations).toEqual([])
  expect(report.notFired).toEqual([])
  expect(report.points).toBe(points.length)
  expect(report.acknowledged).toBeGreaterThan(points.length * DELIVERIES_PER_POINT * 0.8)
}

/** A test that says why it does not run where the machine lacks what it needs. */
const unless = (why: string | undefined, name: string): [typeof it | typeof it.skip, string] =>
  why === undefined ? [it, name] : [it.skip, `${name} (skipped: ${why})`]

describe('what was acknowledged is done, and nothing is done twice', () => {
  it(
    `after nodes were killed at named places and at any moment: ${others.length} points`,
    async () => expectClean(await campaign(others), others),
    LIMIT_MS,
  )

  const [trace, traceName] = unless(
    whyNoTrace(),
    `after a node was killed at its n-th write: ${traced.length} points`,
  )
  trace(traceName, async () => expectClean(await campaign(traced), traced), LIMIT_MS)

  const [attach, attachName] = unless(
    whyNoServerTrace(),
    `after PostgreSQL was killed at its n-th fdatasync or pwrite64: ${tracedServer.length} points`,
  )
  attach(attachName, async () => expectClean(await campaign(tracedServer), tracedServer), LIMIT_MS)
})

describe('the check notices', () => {
  const controls: readonly [
    what: string,
    sabotage: Sabotage,
    points: string,
    as: Report['violations'][number]['as'],
  ][] = [
    ['an answer before the commit', 'answers_before_commit', 'node:400ms,node:500ms,node:600ms', 'lost'],
    ['an event that is not recognised again', 'forgets_deliveries', 'node:100ms', 'doubled'],
    [
      'a node that goes on with runs that were taken from it',
      'ignores_fence',
      'zombie:writes.committed:20,zombie:runs.claimed:2',
      'doubled',
    ],
    [
      'a node that still sends after it was thought dead',
      'outstays_its_lease',
      'zombie:writes.committed:20,zombie:writes.committed:30',
      'doubled',
    ],
    [
      'a call that is not written down before it leaves',
      'hides_begun_attempts',
      'call.answered:60,writes.before_commit:30,call.answered:30',
      'doubled',
    ],
    [
      'a call without its idempotency key',
      'sends_without_key',
      'call.answered:30,writes.before_commit:20,call.answered:50,writes.before_commit:35',
      'doubled',
    ],
    [
      'runs that do not wait for those before them in their lane',
      'ignores_lanes',
      'node:100ms',
      'out_of_order',
    ],
    ['a dead node whose runs nobody takes', 'rescues_nobody', 'runs.claimed:3', 'lost'],
  ]
  it.concurrent.each(controls)(
    '%s',
    async (_what, sabotage, names, as) => {
      // They wait more than they work, so they run at the same time, each on a database of its own.
      const noticed = new Set<string>()
      for (let n = 1; n <= CONTROL_TRIES && !noticed.has(as); n++) {
        const report = await campaign(names.split(',').map(parsePoint), {
          sabotage,
          settleMs: 15_000,
          seed: `${SEED}-${n}`,
        })
        for (const violation of report.violations) noticed.add(violation.as)
      }
      expect([...noticed]).toContain(as)
    },
    LIMIT_MS,
  )
})
