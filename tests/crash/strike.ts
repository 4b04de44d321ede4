import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { pause, SECOND, systemClock } from '../../src/base/index.ts'
import type { EmbeddedPostgres } from '../../src/db/index.ts'
import type { Violation } from './invariant.ts'
import { errands, type Errand } from './load.ts'
import { killAtWrite, processState, treeOf } from './processes.ts'
import { pointName, type Point } from './points.ts'
import { endNode, type PlatformNode, type World } from './world.ts'

/** What happened at one crash point. */
export interface Struck {
  readonly point: string
  /** The process that was to be killed was killed there, and not before and not by anything else. */
  readonly fired: boolean
  /** Why it is believed that it fired, or why not. */
  readonly evidence: string
  /** From the crash, or from the start of the next process, to the next 2xx, where nobody else served meanwhile. */
  readonly servingMs?: number
  /** The part of it until PostgreSQL answered a new connection again. */
  readonly databaseMs?: number
  readonly violations: readonly Violation[]
}

export interface StrikeOptions {
  readonly world: World
  readonly point: Point
  /** The same load for the same seed. */
  readonly seed: string
  /** Deliveries to send at least. */
  readonly deliveries: number
  readonly atOnce: number
  /** Cuts the power of PostgreSQL, where it can be cut. */
  readonly cutPower?: (andThen: () => Promise<void>) => Promise<EmbeddedPostgres>
  /** Told of every node that was killed, so that it is watched what becomes of its runs. */
  readonly onKilled: (node: PlatformNode, diedAt: number) => void
}

/** A point that has not fired after this long under load will not. */
const FIRE_LIMIT_MS = 30 * SECOND
const LOOK_MS = 20
/** Serving again after the platform was started again, or PostgreSQL died. */
export const SERVING_LIMIT_MS = 5 * SECOND
/** A killed node's runs go on elsewhere within this time. */
export const RESCUE_LIMIT_MS = 10 * SECOND

/** Puts load on the platform, kills what the point says, sees that it was so, and lets the platform go on. */
export async function strike(options: StrikeOptions): Promise<Struck> {
  const { world, point } = options
  const name = pointName(point)
  const outcome = await strikeOne(options)
  const violations: Violation[] = [...outcome.violations]
  for (const node of world.endedByThemselves())
    violations.push({ as: 'node_ended', point: name, what: lastWords(node) })
  if (outcome.servingMs === SERVED_LIMIT_MS)
    violations.push({ as: 'not_serving', point: name, what: `within ${SERVED_LIMIT_MS / SECOND} s` })
  return { ...outcome, point: name, violations }
}

type Outcome = Omit<Struck, 'point'>

function strikeOne(options: StrikeOptions): Promise<Outcome> {
  const { point } = options
  switch (point.kind) {
    case 'node_write': {
      const traceFile = options.world.newFile('strace.log')
      return strikeVictim(options, { under: killAtWrite(point.n, traceFile) }, () => lastLineOf(traceFile))
    }
    case 'named':
      if (point.name === 'rescue.before_commit') return strikeRescuer(options)
      return strikeVictim(options, { crashAt: { point: point.name, count: point.n, how: 'kill' } })
    case 'node_after':
      return strikeVictim(options, {}, undefined, point.ms)
    case 'zombie':
      return strikeZombie(options, { point: point.name, count: point.n, how: 'stop' })
    case 'all_after':
      return strikeAll(options, point.ms)
    case 'postgres_after':
      return strikePostmaster(options, point.ms)
    case 'postgres_call':
      return strikePostgres(options, point)
    case 'power_after':
      return strikePower(options, point.ms)
  }
}

// --- nodes -----------------------------------------------------------------------------------------------

/** One of two nodes is killed; the other takes its runs over. */
async function strikeVictim(
  options: StrikeOptions,
  over: Parameters<World['startVictim']>[0],
  evidence: () => string = () => '',
  killAfterMs?: number,
): Promise<Outcome> {
  const { world, onKilled } = options
  const victim = await world.startVictim(over)
  const load = startLoad(options, victim.hasEnded)
  if (killAfterMs !== undefined) {
    await pause(systemClock, killAfterMs, { keepAlive: true })
    victim.kill()
  }
  const fired = await within(FIRE_LIMIT_MS, victim.ended)
  if (fired) onKilled(victim, fired.at)
  else await endNode(victim)
  await load.finish()
  return {
    fired: fired?.signal === 'SIGKILL',
    evidence: fired
      ? `ended by ${fired.signal ?? `exit code ${fired.code}`} ${evidence()}`
      : `it lived through ${FIRE_LIMIT_MS / SECOND} s of load`,
    violations: endedByItself(options, victim, fired?.signal),
  }
}

/** A node dies while it takes back the runs of another one that died; then both are taken back. */
async function strikeRescuer(options: StrikeOptions): Promise<Outcome> {
  const { world, onKilled } = options
  const rescuer = await world.startVictim({
    crashAt: { point: 'rescue.before_commit', count: 1, how: 'kill' },
  })
  const steady = world.steady()
  world.takeAway(rescuer) // So that the other one has runs to lose.
  let startedAt = Number.POSITIVE_INFINITY
  const load = startLoad(options, () => hasServedSince(world, startedAt))
  await pause(systemClock, 300, { keepAlive: true })
  onKilled(steady, (await world.killSteady()).at)
  const fired = await within(FIRE_LIMIT_MS, rescuer.ended)
  if (fired) onKilled(rescuer, fired.at)
  else await endNode(rescuer)
  startedAt = (await world.startSteady()).startedAt
  const servingMs = await nextServed(world, startedAt)
  await load.finish()
  return {
    fired: fired?.signal === 'SIGKILL',
    evidence: fired ? `ended by ${fired.signal ?? fired.code}` : 'it never rescued anybody',
    servingMs,
    violations: endedByItself(options, rescuer, fired?.signal),
  }
}

/** A node stands still until others took its runs, then wakes up in the middle of what it was doing. */
async function strikeZombie(
  options: StrikeOptions,
  crashAt: NonNullable<Parameters<World['startVictim']>[0]>['crashAt'],
): Promise<Outcome> {
  const { world } = options
  const zombie = await world.startVictim({ crashAt })
  const stopped = (): boolean => zombie.hasEnded() || processState(zombie.pid()) === 'T'
  const began = systemClock.monotonic()
  const since = (): string => `after ${Math.round(systemClock.monotonic() - began)} ms`
  let stands = false
  const load = startLoad(options, () => stands)
  const steps: string[] = []
  const step = async (
    what: string,
    limitMs: number,
    holds: () => boolean | Promise<boolean>,
  ): Promise<boolean> => {
    const held = await until(limitMs, holds)
    steps.push(`${held ? what : `never ${what}`} ${since()}`)
    return held
  }

  stands = await step('stood still', FIRE_LIMIT_MS, stopped)
  // From now on everything goes to the steady node; what this one had accepted and not answered is sent again.
  world.takeAway(zombie)
  const dead = await step('declared dead', FIRE_LIMIT_MS, async () => {
    const rows = await world.ask<{ dead: boolean }>(
      'select stopped_at is not null as dead from nodes where id = $1',
      [zombie.id()],
    )
    return rows?.[0]?.dead === true
  })
  await step('lost its runs', RESCUE_LIMIT_MS, async () => (await runsOf(world, zombie.id())) === 0)
  if (!zombie.hasEnded()) process.kill(zombie.pid(), 'SIGCONT')
  await load.finish()
  await pause(systemClock, SECOND, { keepAlive: true }) // It finishes what it thinks is its own.
  const died = zombie.hasEnded()
  await endNode(zombie)
  return {
    fired: stands && dead && !died,
    evidence: steps.join(', '),
    violations: died ? [{ as: 'node_ended', point: pointName(options.point), what: lastWords(zombie) }] : [],
  }
}

/** Every node is killed at once, and one is started. */
async function strikeAll(options: StrikeOptions, ms: number): Promise<Outcome> {
  const { world, onKilled } = options
  const victim = await world.startVictim()
  const steady = world.steady()
  let startedAt = Number.POSITIVE_INFINITY
  const load = startLoad(options, () => hasServedSince(world, startedAt))
  await pause(systemClock, ms, { keepAlive: true })
  victim.kill()
  const ends = await Promise.all([world.killSteady(), victim.ended])
  onKilled(steady, ends[0].at)
  onKilled(victim, ends[1].at)
  startedAt = (await world.startSteady()).startedAt
  const servingMs = await nextServed(world, startedAt)
  await load.finish()
  return {
    fired: ends.every(({ signal }) => signal === 'SIGKILL'),
    evidence: `ended by ${ends.map(({ signal, code }) => signal ?? code).join(', ')}`,
    servingMs,
    violations: [],
  }
}

// --- PostgreSQL ------------------------------------------------------------------------------------------

async function strikePostmaster(options: StrikeOptions, ms: number): Promise<Outcome> {
  const { world } = options
  const { pid } = world.postgres()
  let at = Number.POSITIVE_INFINITY
  const load = startLoad(options, () => hasServedSince(world, at))
  await pause(systemClock, ms, { keepAlive: true })
  process.kill(pid, 'SIGKILL')
  at = systemClock.monotonic()
  const gone = await until(FIRE_LIMIT_MS, () => processState(pid) === undefined)
  const [databaseMs, servingMs] = await Promise.all([databaseBack(world, at), nextServed(world, at)])
  await load.finish()
  return {
    fired: gone,
    evidence: `postmaster ${pid} is ${gone ? 'gone' : 'still there'}`,
    servingMs,
    databaseMs,
    violations: [],
  }
}

async function strikePostgres(
  options: StrikeOptions,
  point: Extract<Point, { kind: 'postgres_call' }>,
): Promise<Outcome> {
  const { world } = options
  const postmaster = world.postgres().pid
  let killedAt: number | undefined
  const tracer = traceServer(treeOf(postmaster), point, () => {
    killedAt ??= systemClock.monotonic()
    if (point.whole && processState(postmaster) !== undefined) process.kill(postmaster, 'SIGKILL')
  })
  await tracer.attached
  const load = startLoad(options, () => killedAt !== undefined && hasServedSince(world, killedAt))
  await until(FIRE_LIMIT_MS, () => killedAt !== undefined)
  await tracer.detach()
  const detachedAt = systemClock.monotonic()
  if (killedAt === undefined) {
    await load.finish()
    return { fired: false, evidence: `no process came to its ${point.n}th ${point.call}`, violations: [] }
  }
  const [databaseMs, servingMs] = await Promise.all([
    databaseBack(world, killedAt),
    nextServed(world, killedAt),
  ])
  await load.finish()
  const slowedMs = Math.round(detachedAt - killedAt)
  return {
    fired: true,
    evidence: `${tracer.evidence().trim()}, strace let go after ${slowedMs} ms`,
    servingMs,
    databaseMs,
    violations: [],
  }
}

/** The power of the machine is cut: the nodes die, and PostgreSQL comes back with what is on the disk. */
async function strikePower(options: StrikeOptions, ms: number): Promise<Outcome> {
  const { world, onKilled, cutPower } = options
  if (!cutPower) return { fired: false, evidence: 'this campaign has no power to cut', violations: [] }
  let startedAt = Number.POSITIVE_INFINITY
  const load = startLoad(options, () => hasServedSince(world, startedAt))
  await pause(systemClock, ms, { keepAlive: true })
  const steady = world.steady()
  const began = systemClock.monotonic()
  const postgres = await cutPower(async () => onKilled(steady, (await world.killSteady()).at))
  world.bootedWith(postgres)
  world.outages.push({ from: began, to: systemClock.monotonic() })
  startedAt = (await world.startSteady()).startedAt
  const servingMs = await nextServed(world, startedAt)
  await load.finish()
  return { fired: true, evidence: `booted from the copy as ${postgres.pid}`, servingMs, violations: [] }
}

interface Tracer {
  readonly attached: Promise<void>
  readonly evidence: () => string
  detach(): Promise<void>
}

/** strace on these processes and those that they start; `onKilled` as soon as one was killed. */
function traceServer(
  pids: readonly number[],
  { call, n }: { readonly call: string; readonly n: number },
  onKilled: () => void,
): Tracer {
  const tracer = spawn(
    'strace',
    [
      '-f',
      '-e',
      `trace=${call}`,
      '-e',
      `inject=${call}:signal=KILL:when=${n}`,
      ...pids.flatMap((pid) => ['-p', String(pid)]),
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  )
  let text = ''
  let evidence = ''
  let attachedTo = 0
  let isAttached = (): void => {}
  const attached = new Promise<void>((resolve) => {
    isAttached = resolve
  })
  tracer.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    const lines = (text + chunk).split('\n')
    text = lines.pop()!
    for (const line of lines) {
      if (line.includes(' attached') && ++attachedTo === pids.length) isAttached()
      if (evidence !== '' || !line.includes('+++ killed by SIGKILL +++')) continue
      evidence = line
      onKilled()
    }
  })
  const ended = new Promise<void>((resolve) => {
    tracer.once('close', () => {
      isAttached()
      resolve()
    })
  })
  return {
    attached,
    evidence: () => evidence,
    detach() {
      tracer.kill('SIGTERM')
      return ended
    },
  }
}

// --- load and looking ------------------------------------------------------------------------------------

/** Load until the strike is over and enough was sent; `finish` waits until all of it was answered or given up. */
function startLoad(options: StrikeOptions, isOver: () => boolean): { finish(): Promise<void> } {
  const { world, seed, deliveries, atOnce } = options
  const already = world.sender.sent.length
  const began = systemClock.monotonic()
  function* enough(): Generator<Errand, void> {
    for (const errand of errands(seed, pointName(options.point))) {
      const sent = world.sender.sent.length - already
      const mayEnd = isOver() || systemClock.monotonic() - began > 2 * FIRE_LIMIT_MS
      if (sent >= deliveries && mayEnd) return
      yield errand
    }
  }
  const done = world.sender.send(enough(), atOnce)
  return { finish: () => done }
}

/** What was committed before the crash may still be answered so long after it. */
const IN_FLIGHT_MS = 100
const SERVED_LIMIT_MS = 60 * SECOND

function hasServedSince(world: World, since: number): boolean {
  return world.lastServed() > since + IN_FLIGHT_MS
}

/** Milliseconds from `since` to the next 2xx; at most a minute. The load must go on meanwhile. */
async function nextServed(world: World, since: number): Promise<number> {
  const served = await until(SERVED_LIMIT_MS, () => hasServedSince(world, since))
  return served ? world.lastServed() - since : SERVED_LIMIT_MS
}

/** Milliseconds from `since` until PostgreSQL answers a new connection. */
async function databaseBack(world: World, since: number): Promise<number> {
  await until(SERVED_LIMIT_MS, () => world.databaseAnswers())
  const back = systemClock.monotonic()
  world.outages.push({ from: since, to: back })
  return back - since
}

async function runsOf(world: World, node: string): Promise<number | undefined> {
  const rows = await world.ask<{ many: number }>(
    `select count(*)::int as many from runs where node_id = $1 and state in ('running', 'undoing')`,
    [node],
  )
  return rows?.[0]?.many
}

async function until(ms: number, holds: () => boolean | Promise<boolean>): Promise<boolean> {
  const began = systemClock.monotonic()
  for (;;) {
    if (await holds()) return true
    if (systemClock.monotonic() - began > ms) return false
    await pause(systemClock, LOOK_MS, { keepAlive: true })
  }
}

function within<T>(ms: number, promise: Promise<T>): Promise<T | undefined> {
  return Promise.race([promise, pause(systemClock, ms, { keepAlive: true }).then(() => undefined)])
}

/** A node under test may only end by SIGKILL. */
function endedByItself(
  { point }: StrikeOptions,
  node: PlatformNode,
  signal: string | null | undefined,
): Violation[] {
  if (signal === 'SIGKILL' || signal === undefined) return []
  return [{ as: 'node_ended', point: pointName(point), what: lastWords(node) }]
}

function lastWords(node: PlatformNode): string {
  return node.said().trim().split('\n').slice(-6).join(' | ') || 'it said nothing'
}

function lastLineOf(file: string): string {
  return readFileSync(file, 'utf8').trim().split('\n').at(-1) ?? ''
}
