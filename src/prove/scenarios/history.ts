import { hostname } from 'node:os'
import type { StandIn } from '../standIn.ts'
import {
  countInDoubt,
  countLedger,
  countStates,
  readIncidents,
  readQuarantine,
  readRuns,
  readSkipped,
  type Counted,
  type IncidentTold,
  type Quarantined,
} from '../simulation/readings.ts'
import type { Simulation } from '../simulation/simulation.ts'
import type { Database } from '../../db/index.ts'

/** One effect that a twin saw, and whose it is. */
export interface WitnessedEffect {
  readonly connection: string
  /** Milliseconds since the beginning. */
  readonly atMs: number
  readonly kind: string
  readonly summary: string
  /** Name of the run that caused it; `undefined`: no run did. */
  readonly run: string | undefined
  readonly step: string | undefined
  /** Whether repeating its operation is declared harmless. */
  readonly natural: boolean
}

/** One exchange that a twin saw. */
export interface WitnessedRequest {
  readonly connection: string
  readonly number: number
  readonly atMs: number
  readonly method: string
  readonly path: string
  readonly status: number | 'reset' | undefined
  readonly fault: string | undefined
  /** Whose call it was; `undefined`: nobody's. */
  readonly run: string | undefined
  readonly step: string | undefined
}

/** A run, named, and how it ended. */
export interface NamedRun {
  readonly name: string
  readonly state: string
  readonly code: string | null
  readonly reason: string | null
  readonly skipped: readonly string[]
}

/** What one simulation came to, without a time, an id or an order of this machine. */
export interface History {
  readonly effects: readonly WitnessedEffect[]
  readonly requests: readonly WitnessedRequest[]
  /** Pairs of kind and key that a twin saw twice, as it tells effects apart itself: by key, external id, text. */
  readonly repeated: readonly {
    readonly connection: string
    readonly kind: string
    readonly summary: string
  }[]
  readonly runs: readonly NamedRun[]
  readonly quarantine: readonly Quarantined[]
  readonly incidents: readonly IncidentTold[]
  readonly ledger: readonly Counted[]
  readonly deliveries: readonly Counted[]
  readonly events: readonly Counted[]
  readonly inDoubt: number
  readonly mail: readonly {
    readonly happening: string | undefined
    readonly answers: readonly (number | string)[]
  }[]
  readonly faults: readonly string[]
  readonly died: number
  readonly endedAtMs: number
  /** Runs that were not over, by the time since the beginning. */
  readonly waiting: readonly { readonly atMs: number; readonly open: number }[]
}

/** Collects what the twins saw, and from the platform its reasons. */
export async function readHistory(
  simulation: Simulation,
  database: Database,
  standIns: ReadonlyMap<string, StandIn>,
  waiting: History['waiting'],
): Promise<History> {
  const { pool } = database
  const clean = cleaner(standIns)
  const runs = await readRuns(pool)
  await simulation.learn(runs.map(({ id }) => id))
  const skipped = await readSkipped(pool)
  const { startMs } = simulation.clock
  const effects: WitnessedEffect[] = []
  const requests: WitnessedRequest[] = []
  const repeated: { connection: string; kind: string; summary: string }[] = []
  for (const [connection, { twin }] of standIns) {
    const seen = new Set<string>()
    for (const effect of twin.effects()) {
      const cause = simulation.causeOf(connection, effect)
      const what = { connection, kind: effect.kind, summary: clean(effect.summary) }
      effects.push({
        ...what,
        atMs: effect.at - startMs,
        run: cause?.run,
        step: cause?.step,
        natural: cause?.natural === true,
      })
      const id = `${effect.kind}\n${effect.key}`
      if (seen.has(id) && effect.request > 0 && cause?.natural !== true) repeated.push(what)
      seen.add(id)
    }
    for (const { number, at, method, path, status, fault } of twin.requests())
      requests.push({
        connection,
        number,
        atMs: at - startMs,
        method,
        path: clean(path),
        status,
        fault,
        ...simulation.callOf(connection, number),
      })
  }
  return {
    effects: sorted(effects, (one) => [one.atMs, one.connection, one.run ?? '', one.kind, one.summary]),
    requests: sorted(requests, (one) => [one.atMs, one.connection, one.number]),
    repeated,
    runs: sorted(
      runs.map(({ id, state, code, reason }) => ({
        name: simulation.nameOf(id),
        state,
        code,
        reason: reason === null ? null : clean(reason),
        skipped: skipped.filter(({ run }) => run === id).map(({ step }) => step),
      })),
      (one) => [one.name, one.state],
    ),
    quarantine: (await readQuarantine(pool)).map((one) => ({ ...one, reason: clean(one.reason) })),
    incidents: (await readIncidents(pool)).map((one) => ({
      ...one,
      title: clean(one.title),
      what: clean(one.what),
      todo: clean(one.todo),
    })),
    ledger: await countLedger(pool),
    deliveries: await countStates(pool, 'deliveries'),
    events: await countStates(pool, 'events'),
    inDoubt: await countInDoubt(pool),
    mail: simulation.post.mail().map(({ happening, answers }) => ({ happening, answers })),
    faults: [...new Set(simulation.faults.map(clean))].sort(),
    died: simulation.died,
    endedAtMs: simulation.clock.elapsed,
    waiting,
  }
}

/** Takes out what is of this machine and this moment: ports, and ids that the platform made. */
export function cleaner(standIns: ReadonlyMap<string, StandIn>): (text: string) => string {
  const addresses = [...standIns].flatMap(([name, { connection }]) =>
    connection.baseUrl === undefined ? [] : [[connection.baseUrl, `the twin of ${name}`] as const],
  )
  return (text) => {
    let clean = text
    for (const [address, name] of addresses) clean = clean.replaceAll(address, name)
    return (
      clean
        .replace(/https?:\/\/127\.0\.0\.1:\d+/g, 'the platform')
        .replace(/127\.0\.0\.1:\d+/g, '127.0.0.1')
        .replace(/, pid \d+/g, '')
        .replaceAll(hostname(), 'this machine')
        .replace(
          /\b(con|ep|dlv|evt|run|stp|att|fnd|inc|led|bat|qrn|nod|tok|hld|out)_[0-9a-hjkmnp-tv-z]{26}\b/g,
          '$1_…',
        )
        // What flows draw by `uuid()` derives from a run's id.
        .replace(/\b[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\b/g, '…')
    )
  }
}

function sorted<Item>(items: readonly Item[], keyOf: (item: Item) => readonly (string | number)[]): Item[] {
  return [...items].sort((a, b) => {
    const [left, right] = [keyOf(a), keyOf(b)]
    for (const [i, key] of left.entries()) {
      const other = right[i]!
      if (key < other) return -1
      if (key > other) return 1
    }
    return 0
  })
}
