import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pause, SECOND, seededRandom, systemClock, type Random } from '../../src/base/index.ts'
import type { EmbeddedPostgres } from '../../src/db/embedded/index.ts'
import type { Role } from '../../src/runtime/index.ts'
import {
  countAcknowledged,
  figuresOf,
  settle,
  statesOf,
  watchRescues,
  type Figures,
  type Rescues,
} from '../crash/campaign.ts'
import { effectsOf } from '../crash/flows.ts'
import { judge, unfinished, type Violation } from '../crash/invariant.ts'
import { errands, type Errand } from '../crash/load.ts'
import { processState } from '../crash/processes.ts'
import type { Sabotage } from '../crash/sabotage.ts'
import { NO_RETRY_AFTER } from '../crash/sender.ts'
import { openSurroundings, type PlatformNode, type Surroundings } from '../crash/surroundings.ts'
import { databaseBack, until } from '../crash/underLoad.ts'
import { endNode, type Outage } from '../crash/world.ts'

export interface ChaosOptions {
  readonly seed: string
  /** How long nodes are killed. */
  readonly seconds: number
  /** Times that PostgreSQL is killed or restarted meanwhile. */
  readonly postgresRestarts: number
  /** Deliveries a second, about. */
  readonly rate: number
  readonly postgres: EmbeddedPostgres
  /** Where the compiled `node.js` and `provider.js` are. */
  readonly entries: string
  readonly sabotage?: Sabotage
  /** Who may be struck. Default: everybody. */
  readonly victims?: readonly string[]
  /** How long what was acknowledged may take after the last kill. Default 60 s. */
  readonly settleMs?: number
  readonly onProgress?: (line: string) => void
  /** Keeps the folder with the ledgers and the nodes' logs. */
  readonly keepFolder?: boolean
}

export interface ChaosReport {
  readonly seed: string
  readonly seconds: number
  readonly nodes: Readonly<Record<string, string>>
  /** Nodes killed, and nodes that stood still until they were thought dead, then went on. */
  readonly kills: number
  readonly zombies: number
  readonly postgresRestarts: number
  readonly deliveries: number
  readonly acknowledged: number
  readonly perSecond: number
  readonly effects: number
  readonly lost: number
  readonly doubled: number
  readonly heldForPeople: number
  readonly violations: readonly Violation[]
  /** From the death of a node until each of its runs was with another. */
  readonly rescueMs: Figures
  readonly late: readonly string[]
  /** Answers of 503 that do not say when to send again. */
  readonly withoutRetryAfter: number
  /** The longest time without a 2xx while PostgreSQL was up. */
  readonly longestSilenceMs: number
  readonly folder?: string
}

/** Four processes on one PostgreSQL, as `trestle serve --role …` makes them. Two take webhooks, three execute runs. */
const CAST: Readonly<Record<string, readonly Role[]>> = {
  'intake-api': ['intake', 'api'],
  'intake-worker': ['intake', 'worker'],
  'worker-1': ['worker'],
  'worker-2': ['worker'],
}

const KILL_AFTER_MS = { least: 2 * SECOND, most: 4 * SECOND }
/** Of the strikes, as many stop a node instead of killing it, and let it go on after it was declared dead. */
const ZOMBIES = 0.2
const STANDS_STILL_MS = 8 * SECOND
const AT_ONCE = 16
const MOST_UNFINISHED = 300

/** Kills one node every few seconds under load, and now and then PostgreSQL, then judges what was acknowledged. */
export async function runChaos(options: ChaosOptions): Promise<ChaosReport> {
  const folder = await mkdtemp(join(tmpdir(), 'trestle-chaos-'))
  let turn = 0
  let withoutRetryAfter = 0
  const around = await openSurroundings({
    ...options,
    folder: join(folder, 'world'),
    onAnswer: (_status, code) => {
      if (code === NO_RETRY_AFTER) withoutRetryAfter++
    },
    // As a load balancer has it: one after another.
    targets: (serving) => (serving.length === 0 ? [] : [serving[++turn % serving.length]!.url()]),
  })
  const outages: Outage[] = []
  const rescues = watchRescues({ ask: around.ask, outages })
  const cast = createCast(around, rescues)
  const random = seededRandom(options.seed)
  const silence = watchSilence(around, outages)
  try {
    await cast.startAll()
    const began = systemClock.monotonic()
    const isOver = (): boolean => systemClock.monotonic() - began > options.seconds * SECOND
    const restarts = restartPostgres(options, around, outages, isOver)
    const [struck] = await Promise.all([
      strikeNodes(cast, random, isOver, options),
      restarts,
      sendUntil(isOver, options, around),
    ])
    const sentFor = (systemClock.monotonic() - began) / SECOND
    silence.end()
    await cast.allUp()
    const settleMs = options.settleMs ?? 60 * SECOND
    await settle(around, 0, settleMs)
    await Promise.race([rescues.settled(), pause(systemClock, settleMs, { keepAlive: true })])
    // What would happen a second time, happens now at the latest.
    await pause(systemClock, SECOND, { keepAlive: true })
    return {
      ...(await judged(around, rescues)),
      seed: options.seed,
      seconds: Math.round(sentFor),
      nodes: Object.fromEntries(Object.entries(CAST).map(([name, roles]) => [name, roles.join(',')])),
      ...struck,
      withoutRetryAfter,
      postgresRestarts: await restarts,
      perSecond: Math.round(countAcknowledged(around) / sentFor),
      longestSilenceMs: Math.round(silence.longest()),
      ...(options.keepFolder && { folder }),
    }
  } finally {
    await cast.endAll()
    await around.close()
    if (options.keepFolder !== true) await rm(folder, { recursive: true, force: true })
  }
}

async function judged(
  around: Surroundings,
  rescues: Rescues,
): Promise<
  Pick<
    ChaosReport,
    | 'deliveries'
    | 'acknowledged'
    | 'effects'
    | 'lost'
    | 'doubled'
    | 'heldForPeople'
    | 'violations'
    | 'rescueMs'
    | 'late'
  >
> {
  around.witness.look()
  const { sent } = around.sender
  const { places } = around.witness
  const doubtful = sent.filter((delivery) => effectsOf(delivery).some((key) => !places.has(key)))
  const states = await statesOf(
    around,
    doubtful.map(({ id }) => id),
  )
  const verdict = judge({
    sent,
    places,
    stateOf: (id) => states.get(id) ?? 'there is no such event in the database',
  })
  const violations = [...verdict.violations, ...rescues.violations()]
  const count = (as: Violation['as']): number => violations.filter((one) => one.as === as).length
  return {
    deliveries: sent.length,
    acknowledged: countAcknowledged(around),
    effects: around.witness.size,
    lost: count('lost'),
    doubled: count('doubled'),
    heldForPeople: verdict.heldForPeople,
    violations,
    rescueMs: figuresOf(rescues.times()),
    late: rescues.late(),
  }
}

// --- load -----------------------------------------------------------------------------------------------

/** At the rate, in portions; it waits where the platform does not follow. */
async function sendUntil(
  isOver: () => boolean,
  { seed, rate }: ChaosOptions,
  around: Surroundings,
): Promise<void> {
  const source = errands(seed.replaceAll(/[^A-Za-z0-9_-]/g, '-'), 'chaos')
  const portions = new Set<Promise<void>>()
  while (!isOver()) {
    const next = pause(systemClock, SECOND / 4, { keepAlive: true })
    const portion = around.sender.send(take(source, rate / 4), AT_ONCE)
    portions.add(portion)
    void portion.finally(() => portions.delete(portion))
    await next
    around.witness.look()
    // On a busy machine the backlog stays small, so that what is compared at the end is done by then.
    while (!isOver() && unfinished(around.sender.sent, around.witness.places).length > MOST_UNFINISHED) {
      await pause(systemClock, SECOND / 4, { keepAlive: true })
      around.witness.look()
    }
  }
  await Promise.all(portions)
}

function* take(source: Generator<Errand, never>, deliveries: number): Generator<Errand, void> {
  for (let taken = 0; taken < deliveries;) {
    const errand = source.next().value
    taken += errand.length
    yield errand
  }
}

/** The longest time without a 2xx, not counting what PostgreSQL was down for and the moment after it. */
function watchSilence(around: Surroundings, outages: readonly Outage[]): { longest(): number; end(): void } {
  let longest = 0
  let ended = false
  let from = Number.POSITIVE_INFINITY
  const look = (): void => {
    if (ended) return
    const served = around.lastServed()
    if (served > 0) {
      if (from === Number.POSITIVE_INFINITY) from = served
      const quietSince = Math.max(served, from, ...outages.map(({ to }) => to))
      longest = Math.max(longest, systemClock.monotonic() - quietSince)
    }
    systemClock.after(50, look)
  }
  look()
  return {
    longest: () => longest,
    end: () => {
      ended = true
    },
  }
}

// --- who is killed --------------------------------------------------------------------------------------

interface Cast {
  startAll(): Promise<void>
  /** Those that are up now. */
  up(): readonly PlatformNode[]
  kill(node: PlatformNode): void
  /** It stands still until others have its runs, then goes on. */
  haunt(node: PlatformNode): Promise<void>
  allUp(): Promise<boolean>
  endAll(): Promise<void>
}

/** Keeps the cast complete: who ends is started again, as a supervisor does. */
function createCast(around: Surroundings, rescues: Rescues): Cast {
  const now = new Map<string, PlatformNode>()
  const still = new Set<PlatformNode>()
  let closing = false

  async function start(name: string): Promise<PlatformNode> {
    const node = await around.startNode(name, { roles: CAST[name]! })
    now.set(name, node)
    void node.ended.then(async () => {
      now.delete(name)
      await pause(systemClock, SECOND / 4, { keepAlive: true })
      if (!closing) await start(name)
    })
    return node
  }
  const up = (): readonly PlatformNode[] =>
    [...now.values()].filter((node) => !node.hasEnded() && !still.has(node))
  return {
    up,
    async startAll() {
      const [first, ...others] = Object.keys(CAST)
      // The first one makes the tables.
      const nodes = [await start(first!), ...(await Promise.all(others.map(start)))]
      const failed = nodes.find((node) => node.hasEnded())
      if (failed) throw new Error(`The node ${failed.name} did not start: ${failed.said()}`)
    },
    kill(node) {
      const at = systemClock.monotonic()
      node.kill()
      rescues.watch(node, at, `kill of ${node.name}`)
    },
    async haunt(node) {
      still.add(node)
      around.takeAway(node)
      rescues.watch(node, systemClock.monotonic(), `standstill of ${node.name}`)
      process.kill(node.pid(), 'SIGSTOP')
      await pause(systemClock, STANDS_STILL_MS, { keepAlive: true })
      if (!node.hasEnded()) process.kill(node.pid(), 'SIGCONT')
      still.delete(node)
      if (node.url() !== '' && !node.hasEnded()) around.serving.push(node)
    },
    allUp: () => until(30 * SECOND, () => up().length === Object.keys(CAST).length),
    async endAll() {
      closing = true
      await Promise.all([...now.values()].map((node) => endNode(node)))
    },
  }
}

async function strikeNodes(
  cast: Cast,
  random: Random,
  isOver: () => boolean,
  { onProgress = () => {}, victims = Object.keys(CAST) }: Pick<ChaosOptions, 'onProgress' | 'victims'>,
): Promise<{ kills: number; zombies: number }> {
  const hauntings = new Set<Promise<void>>()
  const struck = { kills: 0, zombies: 0 }
  for (;;) {
    const ms = KILL_AFTER_MS.least + random.next() * (KILL_AFTER_MS.most - KILL_AFTER_MS.least)
    await pause(systemClock, ms, { keepAlive: true })
    if (isOver()) break
    const up = cast.up()
    const candidates = up.filter(({ name }) => victims.includes(name))
    const victim = candidates[Math.floor(random.next() * candidates.length)]
    const asZombie = random.next() < ZOMBIES
    // One that serves must be left: who kills all of them learns nothing about those that go on.
    if (!victim || up.filter((node) => node.url() !== '' && node !== victim).length === 0) continue
    if (asZombie && hauntings.size === 0) {
      struck.zombies++
      const haunting = cast.haunt(victim)
      hauntings.add(haunting)
      void haunting.finally(() => hauntings.delete(haunting))
    } else {
      struck.kills++
      cast.kill(victim)
    }
    onProgress(`${struck.kills} killed, ${struck.zombies} stood still; last ${victim.name}`)
  }
  await Promise.all(hauntings)
  return struck
}

/** At even times: killed, then asked to end at once as an administrator does, in turns. The watch brings it back. */
async function restartPostgres(
  { postgres, seconds, postgresRestarts }: ChaosOptions,
  around: Surroundings,
  outages: Outage[],
  isOver: () => boolean,
): Promise<number> {
  for (let done = 0; done < postgresRestarts; done++) {
    await pause(systemClock, (seconds * SECOND) / (postgresRestarts + 1), { keepAlive: true })
    if (isOver()) return done
    const { pid } = postgres
    const at = systemClock.monotonic()
    process.kill(pid, done % 2 === 0 ? 'SIGKILL' : 'SIGINT')
    await until(30 * SECOND, () => processState(pid) === undefined)
    await databaseBack({ databaseAnswers: around.databaseAnswers, outages }, at)
  }
  return postgresRestarts
}
