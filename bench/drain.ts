import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../src/base/index.ts'
import { migrate, openDatabase, startEmbeddedPostgres } from '../src/db/index.ts'
import { installDispatch } from '../src/dispatch/index.ts'
import { createFakeClock } from '../src/testing/index.ts'
import { round } from './parts/histogram.ts'
import { setOutageStage, verdictOf, type OutageStage, type Sale } from './parts/outageStage.ts'

const RUNS = 50_000
/** Runs of one customer: one lane. */
const EACH = 5
/** What the provider allows in a second. */
const ALLOWED = 200
const SECOND = 1000
const MINUTE = 60 * SECOND
const OUTAGE_MS = 72 * 60 * MINUTE
const STEP_MS = 200

/**
 * A provider that is away for 72 hours of a fake clock, with 50,000 runs waiting for it on two nodes: a real
 * database, real HTTP. Then the same on the machine's own clock: away for a minute under load. `ratio`: how long the
 * drain took, to backlog / budget.
 */
export async function drain(runs = RUNS): Promise<Record<string, unknown>> {
  const long = await onStage((stage) => threeDays(stage, runs), createFakeClock())
  const short = await onStage((stage) => aMinute(stage), systemClock)
  return { ...long, realTime: short }
}

async function onStage<Clock extends Parameters<typeof setOutageStage>[0]['clock'], Result>(
  play: (set: { stage: OutageStage; clock: Clock }) => Promise<Result>,
  clock: Clock,
): Promise<Result> {
  const folder = await mkdtemp(join(tmpdir(), 'trestle-drain-'))
  // What is counted here is what is lost, doubled, disordered and called; nothing has to outlive this server.
  const server = await startEmbeddedPostgres({
    dataDir: join(folder, 'postgres'),
    settings: { fsync: 'off' },
  })
  const database = openDatabase({ url: server.url, max: 2 })
  try {
    await migrate(database)
    await installDispatch(database)
    const limits = [{ name: 'second', allowed: ALLOWED, windowMs: SECOND, source: 'bench' }]
    const stage = await setOutageStage({ databaseUrl: server.url, clock, limits })
    try {
      return await play({ stage, clock })
    } finally {
      await stage.stop()
    }
  } finally {
    await database.close()
    await server.stop()
    await rm(folder, { recursive: true, force: true })
  }
}

async function threeDays(
  { stage, clock }: { stage: OutageStage; clock: ReturnType<typeof createFakeClock> },
  runs: number,
): Promise<Record<string, unknown>> {
  const customers = Math.ceil(runs / EACH)
  const sales: Sale[] = Array.from({ length: runs }, (_, i) => ({
    customer: `c${i % customers}`,
    n: Math.floor(i / customers),
  }))
  await Promise.all([stage.startNode(), stage.startNode()])
  stage.provider.down = () => true
  await stage.sow('sold', sales.slice(0, 20))
  await until(stage, clock, async () => (await breakers(stage)).length > 0)
  // Within a second every node knows it.
  await stage.step(clock, 2 * SECOND)
  const before = stage.provider.seen.length
  const began = clock.now()
  for (let from = 20; from < runs; from += 500) {
    await stage.sow('sold', sales.slice(from, from + 500))
    await stage.step(clock, STEP_MS)
  }
  await until(stage, clock, async () => ((await stage.counts())['parked'] ?? 0) >= customers)
  // From one probe to the next the clock is put forward, as on a machine that slept: nothing is due in between.
  while (clock.now() - began < OUTAGE_MS) {
    clock.set(Math.max(clock.now(), await nextProbe(stage)))
    // Nodes look once a second.
    await stage.step(clock, 1.1 * SECOND)
  }
  const calls = stage.provider.seen.length - before
  const [outage] = await query<{ probes: string }>(stage, 'select sum(probes) as probes from outages')
  const waiting = await stage.counts()

  stage.provider.down = () => false
  const back = stage.provider.seen.length
  await until(stage, clock, async () => (await stage.counts())['succeeded'] === runs, 10)
  const served = stage.provider.seen.slice(back).filter(({ path }) => path !== '/status')
  const drainMs = served.at(-1)!.at - served[0]!.at
  return {
    runs,
    outageHours: OUTAGE_MS / (60 * MINUTE),
    waiting,
    ...verdictOf(sales, stage.provider.seen),
    calls,
    probes: Number(outage!.probes),
    drainSeconds: drainMs / SECOND,
    budgetSeconds: runs / ALLOWED,
    ratio: round(drainMs / ((runs / ALLOWED) * SECOND), 3),
    mostInASecond: mostInASecond(served.map(({ at }) => at)),
    faults: [...new Set(stage.faults)],
  }
}

/** A minute of outage while events keep coming, on the machine's clock. */
async function aMinute({ stage }: { stage: OutageStage }): Promise<Record<string, unknown>> {
  const sales: Sale[] = []
  const sowFor = async (seconds: number): Promise<void> => {
    for (let second = 0; second < seconds; second++) {
      const now = Array.from({ length: 20 }, (_, i) => ({ customer: `c${i}`, n: sales.length / 20 }))
      sales.push(...now)
      await stage.sow('sold', now)
      await new Promise((resolve) => setTimeout(resolve, SECOND))
    }
  }
  await Promise.all([stage.startNode(), stage.startNode()])
  await sowFor(5)
  stage.provider.down = () => true
  await sowFor(60)
  const during = stage.provider.seen.filter(({ status }) => status !== 200)
  stage.provider.down = () => false
  await sowFor(5)
  while ((await stage.counts())['succeeded'] !== sales.length)
    await new Promise((resolve) => setTimeout(resolve, SECOND / 5))
  const [outage] = await query<{ probes: string }>(stage, 'select sum(probes) as probes from outages')
  return {
    runs: sales.length,
    outageSeconds: 60,
    ...verdictOf(sales, stage.provider.seen),
    calls: during.length,
    probes: Number(outage!.probes),
    callsBeforeItWasKnown: during.filter(({ path }) => path !== '/status').length,
    faults: [...new Set(stage.faults)],
  }
}

function mostInASecond(times: readonly number[]): number {
  let most = 0
  for (let from = 0, to = 0; to < times.length; to++) {
    while (times[to]! - times[from]! >= SECOND) from++
    most = Math.max(most, to - from + 1)
  }
  return most
}

async function until(
  stage: OutageStage,
  clock: ReturnType<typeof createFakeClock>,
  isSo: () => Promise<boolean>,
  stepsBetween = 1,
): Promise<void> {
  while (!(await isSo())) for (let i = 0; i < stepsBetween; i++) await stage.step(clock, STEP_MS)
}

/** When the provider is probed next, in milliseconds since 1970. */
async function nextProbe(stage: OutageStage): Promise<number> {
  const [next] = await query<{ until: Date | null }>(stage, 'select min(until) as until from breakers')
  return next?.until?.getTime() ?? 0
}

const breakers = (stage: OutageStage): Promise<readonly Record<string, unknown>[]> =>
  query(stage, 'select 1 from breakers')

async function query<Row extends Record<string, unknown>>(
  stage: OutageStage,
  statement: string,
): Promise<readonly Row[]> {
  return (await stage.database.pool.query<Row>(statement)).rows
}
