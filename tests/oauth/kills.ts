import {
  pause,
  REFRESH_CRASH_POINTS,
  seededRandom,
  systemClock,
  type CrashPoint,
  type Random,
} from '../../src/base/index.ts'
import type { Child } from '../crash/processes.ts'
import { countedBy } from '../drills/stage.ts'
import type { NodeReady } from './node.ts'
import type { Place, Question } from './witness.ts'

/** Places at which the witness kills. At the others a node kills itself. */
const WITNESSED = ['asked', 'answered'] as const satisfies readonly Place[]
export type KillPlace = (typeof WITNESSED)[number] | (typeof REFRESH_CRASH_POINTS)[number]
const PLACES: readonly KillPlace[] = [...WITNESSED, ...REFRESH_CRASH_POINTS]

export interface Node {
  readonly name: string
  readonly child: Child<NodeReady>
  readonly diesAt: CrashPoint
}

/** Which nodes are alive, and who is killed when and where. */
export interface Kills {
  readonly deaths: ReadonlyMap<string, number>
  add(node: Node): void
  remove(name: string): void
  alive(): readonly Node[]
  /** A node killed itself. */
  note(name: string, place: string, at: number): void
  /** Arms the next death: at a place of a refresh. */
  oneMore(): void
  atPlace(place: Place, question: Question): Promise<void> | void
  atRandom(): { stop(): Promise<void> }
  count(): number
  byPlace(): Record<string, number>
  stop(): void
}

export interface KillOptions {
  readonly seed: string
  /** How many nodes there are when all are alive: only then another is killed at random. */
  readonly all: number
  /** A node is killed at a random moment, about so often. */
  readonly killAtRandomMs: number
  /** Where nodes are killed in the middle of a refresh. Default: at each place in turn. */
  readonly killAt?: readonly KillPlace[]
}

export function createKills({ seed, all, killAtRandomMs, killAt = PLACES }: KillOptions): Kills {
  const random = seededRandom(`${seed} kills`)
  const alive = new Map<string, Node>()
  const deaths = new Map<string, number>()
  const places: string[] = []
  let turn = Math.floor(random.next() * 100)
  let armed: Place | undefined
  let stopped = false

  const note = (name: string, place: string, at: number): void => {
    if (deaths.has(name)) return
    deaths.set(name, at)
    places.push(place)
  }
  const kill = async (name: string, place: string): Promise<void> => {
    const node = alive.get(name)
    if (!node || stopped || node.child.hasEnded()) return
    note(name, place, systemClock.now())
    node.child.kill()
    await node.child.ended
  }

  return {
    deaths,
    add: (node) => void alive.set(node.name, node),
    remove: (name) => void alive.delete(name),
    alive: () => [...alive.values()],
    note,
    oneMore() {
      if (stopped) return
      const place = killAt[turn++ % killAt.length]!
      const witnessed = WITNESSED.find((known) => known === place)
      if (witnessed) armed = witnessed
      else {
        const nodes = [...alive.values()]
        const doomed = nodes.find(({ diesAt }) => diesAt === place) ?? pickOrNone(nodes, random)
        if (doomed && !doomed.child.hasEnded()) process.kill(doomed.child.pid(), 'SIGUSR2')
      }
    },
    atPlace(place, { node }) {
      if (place !== armed) return undefined
      armed = undefined
      return kill(node, place)
    },
    atRandom() {
      const state = { over: false }
      const loop = async (): Promise<void> => {
        while (!state.over) {
          await pause(systemClock, killAtRandomMs * (0.5 + random.next()), { keepAlive: true })
          const nodes = [...alive.values()]
          if (!state.over && nodes.length === all) await kill(pick(nodes, random).name, 'random')
        }
      }
      const looping = loop()
      return {
        stop() {
          state.over = true
          return looping
        },
      }
    },
    count: () => deaths.size,
    byPlace: () => countedBy(places),
    stop() {
      stopped = true
      armed = undefined
    },
  }
}

export function pick<Item>(items: readonly Item[], random: Random): Item {
  return items[Math.floor(random.next() * items.length)]!
}

function pickOrNone<Item>(items: readonly Item[], random: Random): Item | undefined {
  return items.length === 0 ? undefined : pick(items, random)
}
