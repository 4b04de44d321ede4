import { pause, SECOND, systemClock } from '../../src/base/index.ts'
import type { EmbeddedPostgres } from '../../src/db/index.ts'
import type { Violation } from './invariant.ts'
import { errands, type Errand } from './load.ts'
import { pointName, type Point } from './points.ts'
import type { PlatformNode, World } from './world.ts'

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

/** What a strike found, before it is named. */
export type Outcome = Omit<Struck, 'point'>

/** A point that has not fired after this long under load will not. */
export const FIRE_LIMIT_MS = 30 * SECOND
const LOOK_MS = 20
/** Serving again after the platform was started again, or PostgreSQL died. */
export const SERVING_LIMIT_MS = 5 * SECOND
/** A killed node's runs go on elsewhere within this time. */
export const RESCUE_LIMIT_MS = 10 * SECOND

/** Load until the strike is over and enough was sent; `finish` waits until all of it was answered or given up. */
export function startLoad(options: StrikeOptions, isOver: () => boolean): { finish(): Promise<void> } {
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
export const SERVED_LIMIT_MS = 60 * SECOND

export function hasServedSince(world: World, since: number): boolean {
  return world.lastServed() > since + IN_FLIGHT_MS
}

/** Milliseconds from `since` to the next 2xx; at most a minute. The load must go on meanwhile. */
export async function nextServed(world: World, since: number): Promise<number> {
  const served = await until(SERVED_LIMIT_MS, () => hasServedSince(world, since))
  return served ? world.lastServed() - since : SERVED_LIMIT_MS
}

/** Milliseconds from `since` until PostgreSQL answers a new connection. */
export async function databaseBack(
  world: Pick<World, 'databaseAnswers' | 'outages'>,
  since: number,
): Promise<number> {
  await until(SERVED_LIMIT_MS, () => world.databaseAnswers())
  const back = systemClock.monotonic()
  world.outages.push({ from: since, to: back })
  return back - since
}

/** Whether it came to hold within the time; looked at every 20 ms. */
export async function until(ms: number, holds: () => boolean | Promise<boolean>): Promise<boolean> {
  const began = systemClock.monotonic()
  for (;;) {
    if (await holds()) return true
    if (systemClock.monotonic() - began > ms) return false
    await pause(systemClock, LOOK_MS, { keepAlive: true })
  }
}

/** The result, or `undefined` where it takes longer. */
export function within<T>(ms: number, promise: Promise<T>): Promise<T | undefined> {
  return Promise.race([promise, pause(systemClock, ms, { keepAlive: true }).then(() => undefined)])
}
