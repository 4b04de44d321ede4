import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pause, SECOND, systemClock } from '../../src/base/index.ts'
import type { EmbeddedPostgres } from '../../src/db/embedded/index.ts'
import { effectsOf } from './flows.ts'
import { judge, unfinished, type Violation } from './invariant.ts'
import { pointName, type Point } from './points.ts'
import type { PowerRig } from './powerRig.ts'
import type { Sabotage } from './sabotage.ts'
import { strike } from './strike.ts'
import { RESCUE_LIMIT_MS, SERVING_LIMIT_MS, type Struck } from './underLoad.ts'
import { openWorld, type Outage, type PlatformNode, type World } from './world.ts'

export interface CampaignOptions {
  readonly points: readonly Point[]
  readonly seed: string
  /** Deliveries to acknowledge in all, at least. */
  readonly deliveries: number
  /** Deliveries sent at once. Default 32. */
  readonly atOnce?: number
  readonly postgres: EmbeddedPostgres
  /** Cuts the power of PostgreSQL, where it can be cut. */
  readonly cutPower?: PowerRig['cut']
  /** Where the compiled `node.js` and `provider.js` are. */
  readonly entries: string
  readonly sabotage?: Sabotage
  /** How long what was acknowledged may take after the last point. Default 60 s. */
  readonly settleMs?: number
  /** Told after every point; `acknowledged` counts the deliveries so far. */
  readonly onStruck?: (struck: Struck, at: number, acknowledged: number) => void
  /** Keeps the folder with the ledgers and the nodes' logs. */
  readonly keepFolder?: boolean
}

/** What a campaign found. */
export interface Report {
  readonly seed: string
  readonly points: number
  readonly fired: number
  readonly notFired: readonly Struck[]
  readonly deliveries: number
  readonly acknowledged: number
  readonly effects: number
  /** `none` operations whose outcome nobody can know. */
  readonly heldForPeople: number
  readonly violations: readonly Violation[]
  /** In words, what took longer than it may: serving again 5 s, a killed node's runs 10 s. */
  readonly late: readonly string[]
  /** From the kill of a node until none of its runs was left with it and each had been claimed by another. */
  readonly rescueMs: Figures
  /** From the crash or the start of the next process to the next 2xx. */
  readonly servingMs: Figures
  /** From a delivery's 2xx to its last effect. */
  readonly effectMs: Figures
  /** The deliveries whose effects took longest, in words. */
  readonly slowest: readonly string[]
  readonly seconds: number
  readonly folder?: string
}

/** Whole milliseconds. */
export interface Figures {
  readonly n: number
  readonly p50: number
  readonly p99: number
  readonly max: number
}

/** More than this many unfinished deliveries, and the next point waits. */
const MOST_UNFINISHED = 2_000
const LOOK_MS = 100
const SLOWEST = 10
/** Runs that nobody took over by then are taken over by nobody. */
const NEVER_RESCUED_MS = 3 * RESCUE_LIMIT_MS

/** Strikes point after point under load, waits until everything has settled, and judges. */
export async function runCampaign(options: CampaignOptions): Promise<Report> {
  const began = systemClock.monotonic()
  const folder = await mkdtemp(join(tmpdir(), 'trestle-crash-'))
  const world = await openWorld({ ...options, folder: join(folder, 'world') })
  const rescues = watchRescues(world)
  const struck: Struck[] = []
  try {
    for (const [at, point] of options.points.entries()) {
      const name = pointName(point)
      const times = 1 + struck.filter((earlier) => earlier.point === name).length
      const one = await strike({
        world,
        point,
        // The load follows from the point, not from its place, so that it can be replayed alone.
        seed: `${options.seed}-${name}-${times}`.replaceAll(/[^A-Za-z0-9_-]/g, '-'),
        deliveries: Math.ceil((options.deliveries - countAcknowledged(world)) / (options.points.length - at)),
        atOnce: options.atOnce ?? 32,
        ...(options.cutPower && { cutPower: options.cutPower }),
        onKilled: (node, when) => rescues.watch(node, when, name),
      })
      struck.push(one)
      options.onStruck?.(one, at, countAcknowledged(world))
      await settle(world, MOST_UNFINISHED, 60 * SECOND)
    }
    await settle(world, 0, options.settleMs ?? 60 * SECOND)
    await rescues.settled()
    // What would happen a second time, happens now at the latest.
    await pause(systemClock, SECOND, { keepAlive: true })
    return await report(options, world, struck, rescues, began, folder)
  } finally {
    await world.close()
    if (options.keepFolder !== true) await rm(folder, { recursive: true, force: true })
  }
}

type Settling = Pick<World, 'sender' | 'witness' | 'ask'>

/** Waits until at most `most` acknowledged deliveries lack an effect, not counting those held for a person. */
export async function settle(world: Settling, most: number, limitMs: number): Promise<void> {
  const began = systemClock.monotonic()
  let open = [...world.sender.sent]
  while (systemClock.monotonic() - began < limitMs) {
    world.witness.look()
    open = unfinished(open, world.witness.places)
    if (open.length <= most) return
    const states = await statesOf(
      world,
      open.map(({ id }) => id),
    )
    open = open.filter(({ id }) => states.get(id)?.startsWith('held') !== true)
    if (open.length <= most) return
    await pause(systemClock, 2 * LOOK_MS, { keepAlive: true })
  }
}

async function report(
  options: CampaignOptions,
  world: World,
  struck: readonly Struck[],
  rescues: Rescues,
  began: number,
  folder: string,
): Promise<Report> {
  const { sent } = world.sender
  world.witness.look()
  const { places } = world.witness
  const doubtful = sent.filter((delivery) => effectsOf(delivery).some((key) => !places.has(key)))
  const states = await statesOf(
    world,
    doubtful.map(({ id }) => id),
  )
  const { violations, heldForPeople } = judge({
    sent,
    places,
    stateOf: (id) => states.get(id) ?? 'there is no such event in the database',
  })
  const latencies = sent.flatMap(({ acknowledgedAt, ...delivery }) => {
    const times = effectsOf(delivery).map((key) => world.witness.firstAt(key))
    return acknowledgedAt === undefined || times.includes(undefined)
      ? []
      : [{ delivery, ms: Math.max(0, Math.max(...(times as number[])) - acknowledgedAt) }]
  })
  latencies.sort((a, b) => b.ms - a.ms)
  return {
    seed: options.seed,
    points: struck.length,
    fired: struck.filter(({ fired }) => fired).length,
    notFired: struck.filter(({ fired }) => !fired),
    deliveries: sent.length,
    acknowledged: countAcknowledged(world),
    effects: world.witness.size,
    heldForPeople,
    violations: [...violations, ...struck.flatMap((one) => one.violations), ...rescues.violations()],
    late: [...struck.flatMap(lateToServe), ...rescues.late()],
    rescueMs: figuresOf(rescues.times()),
    servingMs: figuresOf(struck.flatMap(({ servingMs }) => servingMs ?? [])),
    effectMs: figuresOf(latencies.map(({ ms }) => ms)),
    slowest: latencies
      .slice(0, SLOWEST)
      .map(
        ({ delivery, ms }) => `${Math.round(ms)} ms: ${delivery.kind} ${delivery.id} at ${delivery.point}`,
      ),
    seconds: Math.round((systemClock.monotonic() - began) / SECOND),
    ...(options.keepFolder && { folder }),
  }
}

export function countAcknowledged(world: Settling): number {
  return world.sender.sent.filter(({ acknowledgedAt }) => acknowledgedAt !== undefined).length
}

/** In words, the states of the runs of these events, as the platform has them. Absent: not in the database. */
export async function statesOf(
  world: Settling,
  ids: readonly string[],
): Promise<ReadonlyMap<string, string>> {
  const rows = await world.ask<{ id: string; state: string }>(
    `select e.provider_event_id as id, string_agg(coalesce(
       r.state || coalesce(' (' || r.reason_code || ')', '') || case when r.node_id is null then '' else ' at ' || r.node_id end
         || ', due ' || coalesce(r.due_at::text, 'never') || ', fence ' || r.fence || ', claims ' || r.claims,
       'event ' || e.state), '; ' order by r.state <> 'held', r.id) as state
     from events e left join runs r on r.tenant = e.tenant and r.event_id = e.id
     where e.provider_event_id = any($1) group by 1`,
    [ids],
  )
  return new Map(rows?.map(({ id, state }) => [id, state]))
}

export function figuresOf(values: readonly number[]): Figures {
  const sorted = [...values].sort((a, b) => a - b)
  const at = (share: number): number => Math.round(sorted[Math.ceil(sorted.length * share) - 1] ?? 0)
  return { n: sorted.length, p50: at(0.5), p99: at(0.99), max: at(1) }
}

// --- what becomes of a dead node's runs ------------------------------------------------------------------

export interface Rescues {
  watch(node: PlatformNode, diedAt: number, point: string): void
  settled(): Promise<void>
  times(): readonly number[]
  late(): readonly string[]
  violations(): readonly Violation[]
}

export function watchRescues(world: Pick<World, 'ask' | 'outages'>): Rescues {
  const times: number[] = []
  const late: string[] = []
  const violations: Violation[] = []
  const watching = new Set<Promise<void>>()

  async function follow(node: string, diedAt: number, point: string): Promise<void> {
    let left: Left[] | undefined
    for (;;) {
      const now = systemClock.monotonic()
      const since = now - diedAt - outageBetween(world.outages, diedAt, now)
      const first = left === undefined
      left = (await (left ? stillWaiting(world, left, node) : runningAt(world, node))) ?? left
      if (left?.length === 0) {
        if (first) return
        times.push(since)
        if (since > RESCUE_LIMIT_MS) late.push(`${point}: its runs went on after ${Math.round(since)} ms`)
        return
      }
      if (since > NEVER_RESCUED_MS) break
      await pause(systemClock, LOOK_MS, { keepAlive: true })
    }
    violations.push({
      as: 'not_rescued',
      point,
      what: left?.map(({ what }) => what).join('; ') ?? `nothing was learned of ${node}`,
    })
  }

  return {
    watch(node, diedAt, point) {
      if (node.id() === '') return
      const following = follow(node.id(), diedAt, point)
      watching.add(following)
      void following.finally(() => watching.delete(following))
    },
    async settled() {
      while (watching.size > 0) await Promise.all(watching)
    },
    times: () => times,
    late: () => late,
    violations: () => violations,
  }
}

function outageBetween(outages: readonly Outage[], from: number, to: number): number {
  return outages.reduce(
    (sum, outage) => sum + Math.max(0, Math.min(to, outage.to) - Math.max(from, outage.from)),
    0,
  )
}

function lateToServe({ point, servingMs = 0, databaseMs }: Struck): string[] {
  if (servingMs <= SERVING_LIMIT_MS) return []
  const database = databaseMs === undefined ? '' : `, PostgreSQL itself after ${Math.round(databaseMs)} ms`
  return [`${point}: served again after ${Math.round(servingMs)} ms${database}`]
}

/** A run that was with a node when it died. */
interface Left {
  readonly id: string
  /** In words, as it is now. */
  readonly what: string
}

const IN_WORDS = `id || ' of ' || flow || ' ' || state || coalesce(' at ' || node_id, '') || ', due '
  || coalesce((due_at - now())::text, 'never') || ', fence ' || fence || ', claims ' || claims as what`

async function runningAt(world: Pick<World, 'ask'>, node: string): Promise<Left[] | undefined> {
  return world.ask<Left>(
    `select id, ${IN_WORDS} from runs where node_id = $1 and state in ('running', 'undoing')`,
    [node],
  )
}

/**
 * Which of these runs nobody has claimed since they were looked at last. One that was claimed once is not looked at
 * again: its next node may die, too. One that rests on purpose, because three nodes died with it, is not among them:
 * that it is done in the end is asked of every run.
 */
async function stillWaiting(
  world: Pick<World, 'ask'>,
  left: readonly Left[],
  node: string,
): Promise<Left[] | undefined> {
  return world.ask<Left>(
    `select id, ${IN_WORDS} from runs
     where id = any($1) and (node_id = $2 or (state = 'queued' and not (claims >= 3 and due_at > now())))`,
    [left.map(({ id }) => id), node],
  )
}
