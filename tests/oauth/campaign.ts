import { join } from 'node:path'
import {
  pause,
  REFRESH_CRASH_POINTS,
  SECOND,
  seededRandom,
  systemClock,
  type CrashPoint,
  type Random,
} from '../../src/base/index.ts'
import type { RefreshTiming } from '../../src/vault/index.ts'
import type { Child } from '../crash/processes.ts'
import type { Sabotage } from '../crash/sabotage.ts'
import { until } from '../crash/underLoad.ts'
import { readJournal } from './journal.ts'
import type { NodeLine, NodeReady } from './node.ts'
import { exchangesOf, judge, type Evidence, type Verdict } from './verdict.ts'
import type { Place, Question, WitnessLine } from './witness.ts'
import { openWorld, type World } from './world.ts'

export interface CampaignOptions {
  readonly databaseUrl: string
  /** Empty, for everything that is written. */
  readonly folder: string
  /** The folder of the compiled tests. */
  readonly compiled: string
  readonly seed: string
  /** Grants to renew. It takes a few more until the last death is recovered from. */
  readonly expiries: number
  /** However few grants were renewed by then. */
  readonly limitMs: number
  /** Connections that are called over. */
  readonly connections: number
  /** Further ones that nobody calls over: only the look ahead keeps them. */
  readonly idle: number
  /** Calls at once, over all nodes. */
  readonly callers: number
  /** Seconds that an access token lives; it is renewed in the second half of that. */
  readonly lifetime: number
  /** How long the token endpoint takes for one question of six. */
  readonly slowMs: number
  /** How a refresh is timed. Default: as in the product. */
  readonly timing?: RefreshTiming
  /** A node is killed in the middle of every so manieth refresh. */
  readonly killEvery: number
  /** And another at a random moment, about so often. */
  readonly killAtRandomMs: number
  /** Where the former are killed. Default: at each place in turn. */
  readonly killAt?: readonly KillPlace[]
  readonly sabotage?: Sabotage
  readonly onProgress: (at: {
    readonly expiries: number
    readonly kills: number
    readonly lost: number
  }) => void
}

export interface CampaignReport extends Verdict {
  readonly seed: string
  readonly seconds: number
  readonly nodes: number
  readonly slowAnswers: number
  /** Nodes killed, by the place: of a refresh, or `random`. */
  readonly kills: Readonly<Record<string, number>>
  readonly calls: number
  /** Calls that were not good, by why. Each of them is to be made again, as a run does by itself. */
  readonly refusedCalls: Readonly<Record<string, number>>
  /** Longest that a good call took, with its wait for a token. */
  readonly longestCallMs: number
}

const NODES = 4
/** Places at which the witness kills. At the others a node kills itself. */
const WITNESSED = ['asked', 'answered'] as const satisfies readonly Place[]
type KillPlace = (typeof WITNESSED)[number] | (typeof REFRESH_CRASH_POINTS)[number]
const PLACES: readonly KillPlace[] = [...WITNESSED, ...REFRESH_CRASH_POINTS]
const LOOK_MS = 250
const TOLD_WITHIN_MS = 90 * SECOND
const SETTLED_WITHIN_MS = 90 * SECOND

/** The product's own; see the vault. */
const PRODUCT_TIMING: RefreshTiming = { askWithinMs: 10 * SECOND, answerWithinMs: 20 * SECOND }

/** Four nodes call over OAuth connections, the token endpoint is slow at times, and one node after another is killed. */
export async function runCampaign(options: CampaignOptions): Promise<CampaignReport> {
  const began = systemClock.monotonic()
  const kills = createKills(options)
  const renewed = { count: 0 }
  const called = Array.from({ length: options.connections }, (_, i) => `portal-${i + 1}`)
  const names = [...called, ...Array.from({ length: options.idle }, (_, i) => `idle-${i + 1}`)]
  const world = await openWorld({
    ...options,
    connections: names,
    atPlace: (place, question) => kills.atPlace(place, question),
    onRenewed: () => {
      if (++renewed.count % options.killEvery === 0) kills.oneMore()
    },
  })
  const troubles: string[] = []
  const idOf = new Map<string, string>()
  try {
    for (const { name, id } of await world.ask<{ name: string; id: string }>(
      'select name, id from connections',
    ))
      idOf.set(id, name)
    for (const name of names) await world.authorize(name)
    const nodes = createNodes({ ...options, called }, world, kills, troubles)
    await nodes.startAll()
    const people = createPeople(world, names, troubles)
    const random = kills.atRandom()
    await until(options.limitMs, () => {
      options.onProgress({ expiries: renewed.count, kills: kills.count(), lost: people.asked() })
      return renewed.count >= options.expiries
    })
    await random.stop()
    kills.stop()
    const settled = await until(SETTLED_WITHIN_MS, () => allServed(world, called, nodes))
    if (!settled && !options.sabotage)
      troubles.push(`not every connection was good again within ${SETTLED_WITHIN_MS / SECOND} s`)
    await people.stop()
    const refusals = await refusalsOf(world)
    await nodes.stop()
    const evidence: Evidence = {
      exchanges: exchangesOf(readJournal<WitnessLine>(world.witnessFile)),
      reached: nodes.reached(idOf),
      deaths: kills.deaths,
      refusals,
      told: people.told(),
      successes: nodes.calls().filter(({ outcome }) => outcome === 'succeeded'),
      leaseMs: leaseOf(options.timing ?? PRODUCT_TIMING),
    }
    const verdict = judge(evidence)
    const calls = nodes.calls()
    return {
      ...verdict,
      broken: [...verdict.broken, ...troubles],
      seed: options.seed,
      seconds: Math.round((systemClock.monotonic() - began) / SECOND),
      nodes: nodes.lives(),
      slowAnswers: evidence.exchanges.filter(({ slow }) => slow).length,
      kills: kills.byPlace(),
      calls: calls.length,
      refusedCalls: countedBy(
        calls.filter(({ outcome }) => outcome !== 'succeeded').map(({ outcome }) => outcome),
      ),
      longestCallMs: Math.max(0, ...evidence.successes.map((one) => (one as CallLine).ms)),
    }
  } finally {
    kills.stop()
    await world.close()
  }
}

function leaseOf({ askWithinMs, answerWithinMs }: RefreshTiming): number {
  return askWithinMs + answerWithinMs
}

// --- nodes -----------------------------------------------------------------------------------------------

interface Node {
  readonly name: string
  readonly child: Child<NodeReady>
  readonly diesAt: CrashPoint
}

type CallLine = Extract<NodeLine, { as: 'call' }>

interface Nodes {
  startAll(): Promise<void>
  /** What every node reached; connections by name. */
  reached(nameOf: ReadonlyMap<string, string>): Evidence['reached']
  calls(): readonly CallLine[]
  lives(): number
  stop(): Promise<void>
}

/** Four places for nodes: where one ended, another one is started at once. */
function createNodes(
  options: CampaignOptions & { readonly called: readonly string[] },
  world: World,
  kills: Kills,
  troubles: string[],
): Nodes {
  const random = seededRandom(`${options.seed} nodes`)
  const journals: { readonly name: string; readonly file: string }[] = []
  let stopped = false
  const under = new Set<Promise<void>>()

  async function occupy(slot: number): Promise<void> {
    for (let life = 1; !stopped; life++) {
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
        callers: options.callers / NODES,
        diesAt,
        ...(sabotage && { sabotage }),
      })
      if (child.pid() > 0) kills.add({ name, child, diesAt })
      if (life === 1) ready.get(slot)!()
      await child.ended
      const own = linesOf(journalFile).find((line) => line.as === 'reached' && line.dies)
      if (own?.as === 'reached') kills.note(name, own.point, own.at)
      kills.remove(name)
      if (!stopped && !kills.deaths.has(name))
        troubles.push(`${name} ended by itself: ${child.said().trim().split('\n').at(-1)}`)
    }
  }

  const ready = new Map<number, () => void>()
  const linesOf = (file: string): readonly NodeLine[] => readJournal<NodeLine>(file)
  return {
    async startAll() {
      const started = Array.from(
        { length: NODES },
        (_, i) => new Promise<void>((resolve) => ready.set(i + 1, resolve)),
      )
      for (let slot = 1; slot <= NODES; slot++) under.add(occupy(slot))
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
      stopped = true
      await Promise.all(kills.alive().map(({ child }) => child.stop()))
      await Promise.all(under)
    },
  }
}

// --- who is killed, and where ----------------------------------------------------------------------------

interface Kills {
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

function createKills({ seed, killAtRandomMs, killAt = PLACES }: CampaignOptions): Kills {
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
      let over = false
      const loop = async (): Promise<void> => {
        while (!over) {
          await pause(systemClock, killAtRandomMs * (0.5 + random.next()), { keepAlive: true })
          const nodes = [...alive.values()]
          if (!over && nodes.length === NODES) await kill(pick(nodes, random).name, 'random')
        }
      }
      const looping = loop()
      return {
        stop() {
          over = true
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

// --- people ----------------------------------------------------------------------------------------------

/** Whoever is told that a connection needs a person, authorizes it anew: at once when told, and not before. */
function createPeople(world: World, names: readonly string[], troubles: string[]) {
  /** The sink's clock is the monotonic one. */
  const shift = systemClock.now() - systemClock.monotonic()
  const told = (): Evidence['told'] =>
    world.sink.told
      .filter(({ as, kind }) => as === 'opened' && kind === 'reauthorization')
      .flatMap(({ what, at }) => {
        const connection = names.find((name) => what.startsWith(`${name} `))
        return connection === undefined ? [] : [{ connection, at: at + shift }]
      })
  const since = new Map<string, number>()
  let asked = 0
  let over = false
  async function look(): Promise<void> {
    const lost = await world.ask<{ name: string }>(
      `select name from connections where state = 'needs_reauthorization'`,
    )
    const now = systemClock.now()
    for (const { name } of lost) {
      if (!since.has(name)) since.set(name, now)
      const seen = since.get(name)!
      const isTold = told().some(({ connection, at }) => connection === name && at >= seen - SECOND * 2)
      if (!isTold && now - seen < TOLD_WITHIN_MS) continue
      if (!isTold) troubles.push(`nobody was told of ${name} within ${TOLD_WITHIN_MS / SECOND} s`)
      asked++
      since.delete(name)
      await world.authorize(name)
    }
  }
  const looping = (async () => {
    while (!over) {
      await look().catch((error: unknown) => troubles.push(`looking for lost grants: ${String(error)}`))
      await pause(systemClock, LOOK_MS, { keepAlive: true })
    }
  })()
  return {
    told,
    asked: () => asked + since.size,
    stop() {
      over = true
      return looping
    },
  }
}

/** Every connection is active, no refresh is left open by a dead node, and each had a good call since. */
async function allServed(world: World, names: readonly string[], nodes: Nodes): Promise<boolean> {
  const open = await world.ask(
    `select 1 from connections where state = 'needs_reauthorization'
     union all select 1 from grant_refreshes where state = 'asking' and lease_until < clock_timestamp()
     union all select 1 from grant_refreshes where state = 'answered'`,
  )
  if (open.length > 0) return false
  const from = systemClock.now()
  return until(10 * SECOND, () => {
    const calls = nodes.calls()
    return names.every((name) =>
      calls.some((one) => one.connection === name && one.at > from && one.outcome === 'succeeded'),
    )
  })
}

async function refusalsOf(world: World): Promise<Evidence['refusals']> {
  const rows = await world.ask<{ name: string; at: Date }>(
    `select c.name, l.at from ledger l join connections c on c.id = l.connection_id
     where l.action = 'credential.refused' order by l.at`,
  )
  return rows.map(({ name, at }) => ({ connection: name, at: at.getTime() }))
}

function pick<Item>(items: readonly Item[], random: Random): Item {
  return items[Math.floor(random.next() * items.length)]!
}

function pickOrNone<Item>(items: readonly Item[], random: Random): Item | undefined {
  return items.length === 0 ? undefined : pick(items, random)
}

function countedBy(keys: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const key of [...keys].sort()) counts[key] = (counts[key] ?? 0) + 1
  return counts
}
