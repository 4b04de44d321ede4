import { join } from 'node:path'
import { REFRESH_CRASH_POINTS, seededRandom } from '../../src/base/index.ts'
import type { Sabotage } from '../crash/sabotage.ts'
import { readJournal } from './journal.ts'
import { pick, type KillPlace, type Kills } from './kills.ts'
import type { NodeLine } from './node.ts'
import type { Evidence } from './verdict.ts'
import type { World } from './world.ts'

export interface NodesOptions {
  readonly seed: string
  readonly folder: string
  /** How many are alive at a time. */
  readonly all: number
  /** Connections that they call over. */
  readonly called: readonly string[]
  /** Calls at once, over all of them. */
  readonly callers: number
  readonly killAt?: readonly KillPlace[]
  readonly sabotage?: Sabotage
}

export type CallLine = Extract<NodeLine, { as: 'call' }>

export interface Nodes {
  startAll(): Promise<void>
  /** What every node reached; connections by name. */
  reached(nameOf: ReadonlyMap<string, string>): Evidence['reached']
  calls(): readonly CallLine[]
  lives(): number
  stop(): Promise<void>
}

/** Places for nodes: where one ended, another one is started at once. */
export function createNodes(options: NodesOptions, world: World, kills: Kills, troubles: string[]): Nodes {
  const random = seededRandom(`${options.seed} nodes`)
  const journals: { readonly name: string; readonly file: string }[] = []
  const state = { stopped: false }
  const under = new Set<Promise<void>>()

  async function occupy(slot: number): Promise<void> {
    for (let life = 1; !state.stopped; life++) {
      const name = `node-${slot}-${life}`
      const journalFile = join(options.folder, `${name}.jsonl`)
      journals.push({ name, file: journalFile })
      const diesAt = pick(
        REFRESH_CRASH_POINTS.filter((point) => options.killAt?.includes(point) ?? true),
        random,
      )
      const { sabotage, called } = options
      const child = await world.start({
        name,
        journalFile,
        called,
        callers: options.callers / options.all,
        diesAt,
        ...(sabotage && { sabotage }),
      })
      if (child.pid() > 0) kills.add({ name, child, diesAt })
      if (life === 1) ready.get(slot)!()
      // It was still coming up when the others were told.
      if (state.stopped) await child.stop()
      await child.ended
      const own = linesOf(journalFile).find((line) => line.as === 'reached' && line.dies)
      if (own?.as === 'reached') kills.note(name, own.point, own.at)
      kills.remove(name)
      if (!state.stopped && !kills.deaths.has(name))
        troubles.push(`${name} ended by itself: ${child.said().trim().split('\n').at(-1)}`)
    }
  }

  const ready = new Map<number, () => void>()
  const linesOf = (file: string): readonly NodeLine[] => readJournal(file) as readonly NodeLine[]
  return {
    async startAll() {
      const started = Array.from(
        { length: options.all },
        (_, i) => new Promise<void>((resolve) => ready.set(i + 1, resolve)),
      )
      for (let slot = 1; slot <= options.all; slot++) under.add(occupy(slot))
      await Promise.all(started)
    },
    reached: (nameOf) =>
      journals.flatMap(({ name, file }) =>
        linesOf(file).flatMap((line) =>
          line.as === 'reached'
            ? [{ node: name, connection: nameOf.get(line.connection)!, point: line.point, at: line.at }]
            : [],
        ),
      ),
    calls: () => journals.flatMap(({ file }) => linesOf(file).filter((line) => line.as === 'call')),
    lives: () => journals.length,
    async stop() {
      state.stopped = true
      await Promise.all(kills.alive().map(({ child }) => child.stop()))
      await Promise.all(under)
    },
  }
}
