import { readFileSync } from 'node:fs'
import { pause, SECOND, systemClock } from '../../src/base/index.ts'
import { TIMEOUT_MS } from './connector.ts'
import type { Violation } from './invariant.ts'
import { killAtWrite, processState } from './processes.ts'
import { pointName } from './points.ts'
import { strikePostgres, strikePostmaster, strikePower } from './strikeServer.ts'
import {
  FIRE_LIMIT_MS,
  hasServedSince,
  nextServed,
  RESCUE_LIMIT_MS,
  SERVED_LIMIT_MS,
  startLoad,
  until,
  within,
  type Outcome,
  type StrikeOptions,
  type Struck,
} from './underLoad.ts'
import { endNode, type PlatformNode, type World } from './world.ts'

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
  // Others have time to do what it was about to do (a look-up waits until the call has timed out): only then is it
  // wrong to do it.
  await pause(systemClock, TIMEOUT_MS, { keepAlive: true })
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

async function runsOf(world: World, node: string): Promise<number | undefined> {
  const rows = await world.ask<{ many: number }>(
    `select count(*)::int as many from runs where node_id = $1 and state in ('running', 'undoing')`,
    [node],
  )
  return rows?.[0]?.many
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
