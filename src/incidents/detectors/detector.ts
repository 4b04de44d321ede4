import type { Queryable } from '../../db/index.ts'
import type { Condition, IncidentKind } from '../incident.ts'

/** What a detector may use. */
export interface Looking {
  readonly client: Queryable
  readonly tenant: string
  /** Milliseconds since 1970. */
  readonly now: number
}

/**
 * One thing that can be wrong: where its facts are read, and what they mean. Another source of incidents is another
 * entry in the table of detectors.
 */
export interface Detector {
  readonly kind: IncidentKind
  /** All that is wrong now. Its statements are indexed and bounded: it is asked every second. */
  readonly look: (looking: Looking) => Promise<readonly Condition[]>
  /** The same, and whether that is all: where there is more than is read at once, nobody can say what is over. */
  readonly lookWhole: (looking: Looking) => Promise<Looked>
  /** Said when it is over. */
  readonly over: string
}

export interface Looked {
  readonly conditions: readonly Condition[]
  readonly whole: boolean
}

/** What detectors are made of: reading facts, and a pure function that says what one means, `undefined` if nothing is wrong. */
export function defineDetector<Fact>(definition: {
  readonly kind: IncidentKind
  readonly facts: (looking: Looking) => Promise<readonly Fact[]>
  readonly condition: (fact: Fact, now: number) => Omit<Condition, 'kind'> | undefined
  readonly over: string
  /** Facts that it reads at most. Default {@link FACTS_LIMIT}. */
  readonly most?: number
}): Detector {
  const { kind, facts, condition, over, most = FACTS_LIMIT } = definition
  const lookWhole = async (looking: Looking): Promise<Looked> => {
    const found = await facts(looking)
    const conditions = found.flatMap((fact) => {
      const one = condition(fact, looking.now)
      return one ? [{ kind, ...one, subject: one.subject.slice(0, 500) }] : []
    })
    return { conditions, whole: found.length < most }
  }
  return {
    kind,
    over,
    lookWhole,
    look: async (looking) => (await lookWhole(looking)).conditions,
  }
}

/**
 * Facts that one detector reads at most. Further ones have no incident until some are over, nothing of the kind is called
 * over, and an incident (`left_out`) says so.
 */
export const FACTS_LIMIT = 100

/** `1 run`, `3 runs`, and `over 1,000 runs` where no more were counted. */
export function countWords(count: number, one: string, many = `${one}s`, limit = Infinity): string {
  if (count > limit) return `over ${limit.toLocaleString('en')} ${many}`
  return `${count.toLocaleString('en')} ${count === 1 ? one : many}`
}

/** A moment in a sentence: `2026-11-22 14:03:05 UTC`. */
export function atWords(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19).replace('T', ' ')} UTC`
}
