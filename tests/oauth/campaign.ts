import { pause, SECOND, systemClock } from '../../src/base/index.ts'
import type { RefreshTiming } from '../../src/vault/index.ts'
import type { Sabotage } from '../crash/sabotage.ts'
import { until } from '../crash/underLoad.ts'
import { countedBy } from '../drills/stage.ts'
import { readJournal } from './journal.ts'
import { createKills, type KillPlace } from './kills.ts'
import { createNodes, type Nodes } from './nodes.ts'
import { createPeople } from './people.ts'
import { exchangesOf, judge, type Evidence, type Verdict } from './verdict.ts'
import type { WitnessLine } from './witness.ts'
import { openWorld, type World } from './world.ts'

export interface CampaignOptions {
  readonly databaseUrl: string
  /** Empty, for everything that is written. */
  readonly folder: string
  /** The folder of the compiled tests. */
  readonly compiled: string
  readonly seed: string
  /**
   * Grants to renew. It takes a few more until the last death is recovered from. With a sabotage it ends when that is
   * noticed instead.
   */
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
/** Journals are long: they are not read all the time. */
const LOOK_MS = SECOND
const SETTLED_WITHIN_MS = 240 * SECOND

/** The product's own; see the vault. */
const PRODUCT_TIMING: RefreshTiming = { askWithinMs: 10 * SECOND, answerWithinMs: 20 * SECOND }

/** Four nodes call over OAuth connections, the token endpoint is slow at times, and one node after another is killed. */
export async function runCampaign(options: CampaignOptions): Promise<CampaignReport> {
  const began = systemClock.monotonic()
  const kills = createKills({ ...options, all: NODES })
  const renewed = { count: 0, lastAt: new Map<string, number>() }
  const called = Array.from({ length: options.connections }, (_, i) => `portal-${i + 1}`)
  const names = [...called, ...Array.from({ length: options.idle }, (_, i) => `idle-${i + 1}`)]
  const world = await openWorld({
    ...options,
    connections: names,
    atPlace: (place, question) => kills.atPlace(place, question),
    onRenewed: (connection) => {
      renewed.lastAt.set(connection, systemClock.now())
      if (++renewed.count % options.killEvery === 0) kills.oneMore()
    },
  })
  const troubles: string[] = []
  const nameOf = new Map<string, string>()
  try {
    for (const { name, id } of await world.ask<{ name: string; id: string }>(
      'select name, id from connections',
    ))
      nameOf.set(id, name)
    await Promise.all(names.map((name) => world.authorize(name)))
    const nodes = createNodes({ ...options, all: NODES, called }, world, kills, troubles)
    await nodes.startAll()
    const people = createPeople(world, names, troubles)
    const random = kills.atRandom()
    const asked = () => ({
      exchanges: exchangesOf(readJournal(world.witnessFile) as readonly WitnessLine[]),
      reached: nodes.reached(nameOf),
      deaths: kills.deaths,
      leaseMs: leaseOf(options.timing ?? PRODUCT_TIMING),
    })
    const isEnough = async (): Promise<boolean> => {
      options.onProgress({ expiries: renewed.count, kills: kills.count(), lost: people.asked() })
      if (!options.sabotage) return renewed.count >= options.expiries
      await pause(systemClock, LOOK_MS, { keepAlive: true })
      return judge({ ...asked(), refusals: [], told: [], successes: [] }).askedTooOften.length > 0
    }
    await until(options.limitMs, isEnough)
    await random.stop()
    kills.stop()
    if (!options.sabotage) {
      const from = systemClock.now()
      const isRenewed = (name: string): boolean => (renewed.lastAt.get(name) ?? 0) > from
      const settled = async (): Promise<boolean> => names.every(isRenewed) && allServed(world, called, nodes)
      if (!(await until(SETTLED_WITHIN_MS, settled)))
        troubles.push(`not every connection was good again within ${SETTLED_WITHIN_MS / SECOND} s`)
    }
    await people.stop()
    await nodes.stop()
    const calls = nodes.calls()
    const good = calls.filter(({ outcome }) => outcome === 'succeeded')
    const found: Evidence = {
      ...asked(),
      refusals: await refusalsOf(world),
      told: people.told(),
      successes: good,
    }
    const verdict = judge(found)
    return {
      ...verdict,
      broken: [...verdict.broken, ...troubles],
      seed: options.seed,
      seconds: Math.round((systemClock.monotonic() - began) / SECOND),
      nodes: nodes.lives(),
      slowAnswers: found.exchanges.filter(({ slow }) => slow).length,
      kills: kills.byPlace(),
      calls: calls.length,
      refusedCalls: countedBy(
        calls.filter(({ outcome }) => outcome !== 'succeeded').map(({ outcome }) => outcome),
      ),
      longestCallMs: longestOf(good),
    }
  } finally {
    kills.stop()
    await world.close()
  }
}

function leaseOf({ askWithinMs, answerWithinMs }: RefreshTiming): number {
  return askWithinMs + answerWithinMs
}

function longestOf(calls: readonly { readonly ms: number }[]): number {
  return calls.reduce((longest, { ms }) => Math.max(longest, ms), 0)
}

/** No connection needs a person, and each has a good call from now on. */
async function allServed(world: World, names: readonly string[], nodes: Nodes): Promise<boolean> {
  const lost = await world.ask(`select 1 from connections where state = 'needs_reauthorization'`)
  if (lost.length > 0) return false
  const from = systemClock.now()
  return until(10 * SECOND, async () => {
    await pause(systemClock, LOOK_MS, { keepAlive: true })
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
