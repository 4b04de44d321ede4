import { join } from 'node:path'
import { pause, SECOND, systemClock } from '../../src/base/index.ts'
import { startEmbeddedPostgres, type EmbeddedPostgres } from '../../src/db/embedded/index.ts'
import type { NodeOptions } from './node.ts'
import type { Ended } from './processes.ts'
import {
  openSurroundings,
  type PlatformNode,
  type Surroundings,
  type SurroundingsOptions,
} from './surroundings.ts'

export type { PlatformNode } from './surroundings.ts'

/**
 * The platform under test with what is around it: a real PostgreSQL that syncs, nodes as processes, the provider in a
 * process of its own, and a sender here. The provider and the sender write down what they saw; they never crash.
 */
export interface World extends Pick<
  Surroundings,
  'sender' | 'witness' | 'takeAway' | 'lastServed' | 'ask' | 'databaseAnswers' | 'newFile'
> {
  readonly postgres: () => EmbeddedPostgres
  /** PostgreSQL was started anew, at the same address. */
  bootedWith(postgres: EmbeddedPostgres): void
  /** The node that goes on while others are killed. */
  readonly steady: () => PlatformNode
  /** Starts another node; it takes webhooks first, as long as it lives. */
  startVictim(over?: { crashAt?: NodeOptions['crashAt']; under?: readonly string[] }): Promise<PlatformNode>
  /** Starts the steady node anew, after it was killed. */
  startSteady(): Promise<PlatformNode>
  /** Kills the steady node. Where it ends without this, that is noted, and another one is started at once. */
  killSteady(): Promise<Ended>
  /** Steady nodes that ended and that nobody had killed, since the last time that this was asked. */
  endedByThemselves(): readonly PlatformNode[]
  /** Times during which PostgreSQL was down: who waits for it is not late. */
  readonly outages: Outage[]
  close(): Promise<void>
}

/** By the monotonic clock, in milliseconds. */
export interface Outage {
  readonly from: number
  readonly to: number
}

export async function openWorld(options: SurroundingsOptions): Promise<World> {
  const around = await openSurroundings(options)
  const { serving, startNode, takeAway } = around
  let { postgres } = options
  let steady: PlatformNode | undefined
  const mayEnd = new Set<PlatformNode>()
  const ended: PlatformNode[] = []
  let closing = false
  async function startSteady(): Promise<PlatformNode> {
    const node = await startNode('steady')
    steady = node
    // Those that are to be killed come first, so that something happens to them.
    takeAway(node)
    if (!node.hasEnded()) serving.push(node)
    void node.ended.then(async () => {
      if (mayEnd.has(node)) return
      ended.push(node)
      await pause(systemClock, SECOND, { keepAlive: true })
      if (!closing) await startSteady()
    })
    return node
  }

  const world: World = {
    ...around,
    postgres: () => postgres,
    bootedWith(booted) {
      postgres = booted
    },
    steady: () => steady!,
    startVictim: (over = {}) => startNode('victim', over),
    startSteady,
    async killSteady() {
      const node = steady!
      mayEnd.add(node)
      node.kill()
      return node.ended
    },
    endedByThemselves: () => ended.splice(0),
    outages: [],
    async close() {
      closing = true
      if (steady) mayEnd.add(steady)
      await Promise.all([...serving, steady!].map((node) => endNode(node)))
      await around.close()
    },
  }
  const first = await startSteady()
  if (!first.hasEnded()) return world
  await world.close()
  throw new Error(`The platform did not start: ${first.said()}`)
}

const STOP_LIMIT_MS = 20 * SECOND

/** Ends a node in order; one that does not is killed. */
export async function endNode(node: PlatformNode): Promise<Ended> {
  const stopped = node.stop().then(() => true)
  const late = pause(systemClock, STOP_LIMIT_MS).then(() => false)
  if (!(await Promise.race([stopped, late]))) node.kill()
  return node.ended
}

/** Embedded PostgreSQL as the platform starts it: whatever is loosened is said in `settings`. */
export function startPostgres(
  folder: string,
  settings: Readonly<Record<string, string>> = {},
): Promise<EmbeddedPostgres> {
  return startEmbeddedPostgres({ dataDir: join(folder, 'postgres'), settings })
}
