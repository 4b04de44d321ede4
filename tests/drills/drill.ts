import { SECOND } from '../../src/base/index.ts'
import type { EmbeddedPostgres } from '../../src/db/embedded/index.ts'
import type { Violation } from '../crash/invariant.ts'
import type { Sabotage } from '../crash/sabotage.ts'

/** What a drill is run with. */
export interface DrillOptions {
  /** About how long the fault goes on. What comes before and after it is not in it. */
  readonly seconds: number
  /** The same load, the same faults and the same order again. */
  readonly seed: string
  /** An empty folder for everything that is written. */
  readonly folder: string
  /** A server that is watched: who kills it finds it back. */
  readonly postgres: EmbeddedPostgres
  /** The folder of the compiled tests. */
  readonly compiled: string
  /** A protection to take away, to see that the drill notices. */
  readonly sabotage?: Sabotage
  readonly onProgress: (line: string) => void
}

/** What a drill found. Counts are of deliveries, unless the drill says otherwise. */
export interface DrillReport {
  readonly drill: string
  /** What was made shorter than the plan has it. */
  readonly scale: string
  readonly n: number
  readonly acknowledged: number
  /** Acknowledged, and without its effect. */
  readonly lost: number
  /** Of these, events that the database does not know at all: nothing will ever come of them. */
  readonly gone: number
  /** Effects that happened more than once. */
  readonly twice: number
  /** Held for a person. */
  readonly held: number
  readonly recoveredMs: number | undefined
  /** Until somebody outside had been told; `undefined`: nobody was, or the drill names no alert. */
  readonly alertedMs: number | undefined
  /** How often the sender got which answer; `none`: none came. */
  readonly answers: Readonly<Record<string, number>>
  readonly figures: Readonly<Record<string, number | string>>
  /** Promises that were broken, in words. */
  readonly broken: readonly string[]
  /** What took longer than it may, in words: on a busy machine perhaps because of the others. */
  readonly late: readonly string[]
}

/** A build that lacks a protection, and what the drill must find then. */
export interface Control {
  readonly sabotage: Sabotage
  readonly notices: (report: DrillReport) => boolean
}

export interface Drill {
  /** As the plan numbers it. */
  readonly number: string
  readonly title: string
  /** Why it cannot be run here, and what to do; `undefined` where it can. */
  readonly whyNot?: (folder: string) => Promise<string | undefined>
  readonly run: (options: DrillOptions) => Promise<DrillReport>
  readonly controls: readonly Control[]
}

/** What a broken build has lost never comes: so long is waited for it. */
const LOST_MS = 6 * SECOND

/** How long what was acknowledged may take in the end. */
export function settleMs({ sabotage }: DrillOptions, otherwise: number): number {
  return sabotage === undefined ? otherwise : LOST_MS
}

/** The first few of them in words. */
export function inWords(violations: readonly Violation[]): string[] {
  return violations.slice(0, 10).map(({ as, what }) => `${as}: ${what}`)
}
