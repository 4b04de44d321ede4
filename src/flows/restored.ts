import { MINUTE } from '../base/index.ts'
import type { AnyOperation } from '../define/index.ts'
import type { Queryable } from '../db/index.ts'
import { effectiveIdempotency } from './retry.ts'
import type { ClaimedRun, PendingCall } from './run.ts'

/**
 * What a database that was put back from a copy does not know: pure decisions about the time that it lost.
 *
 * Between the copy and the moment it was put back, runs went on and events came in, and nothing of it is kept. So every
 * call that such a run asks for, of which its journal holds no result, may have been made already: it is in doubt
 * before its first attempt, and resolved as any doubt is: by the same key, by asking, or by a person.
 */

/** A time of which the database knows nothing, in milliseconds since 1970. */
export interface LostTime {
  /** The hold's id. */
  readonly id: string
  /** The earliest that anything unknown can have been begun: right before the copy ended. */
  readonly from: number
  /** When nothing of the former platform can have been at work any more. */
  readonly to: number
}

/** How far a provider's clock may be before ours: an event dated so much after the lost time may still be of it. */
const CLOCK_DISTANCE_MS = MINUTE

/**
 * The lost time that a run is concerned by: it was there already, or its event happened before the end of that time,
 * so that a run of the same event may have been executed. Of several the newest counts, with the earliest begin.
 */
export function lostTimeOf(
  run: { readonly createdAt: number; readonly occurredAt: number | undefined },
  lost: readonly LostTime[],
): LostTime | undefined {
  const concerned = lost.filter(
    ({ to }) =>
      run.createdAt <= to || (run.occurredAt !== undefined && run.occurredAt <= to + CLOCK_DISTANCE_MS),
  )
  const newest = concerned.reduce<LostTime | undefined>(
    (last, one) => (last === undefined || one.to > last.to ? one : last),
    undefined,
  )
  return newest && { ...newest, from: Math.min(...concerned.map(({ from }) => from)) }
}

/**
 * A call step as it stands after a lost time: in doubt, once, unless a person has spoken since. After a look-up that
 * found nothing, the next generation is asked about too: the former life may have come to it the same way.
 */
export function afterRestore(
  step: PendingCall,
  operation: AnyOperation,
  run: Pick<ClaimedRun, 'lost' | 'claims' | 'claimedAt'>,
  now: number,
): PendingCall {
  const { lost } = run
  if (lost === undefined) return step
  const before = step.afterLost?.hold === lost.id ? step.afterLost : undefined
  if (step.settled !== undefined)
    return { ...step, afterLost: { hold: lost.id, first: NEVER, doubted: NEVER } }
  // A person is being asked already; so is the provider, or it was, about this generation.
  if (step.phase === 'held' || before?.doubted === step.generation) return step
  if (before && step.generation > before.first + 1) return step
  const earliest = Math.min(lost.from, run.claims > 1 ? run.claimedAt : lost.from)
  const begunAt = Math.min(step.begunAt ?? earliest, earliest)
  // By its key the provider itself tells one generation from the next.
  const byKey = effectiveIdempotency(operation, begunAt, now).kind === 'key'
  return {
    ...step,
    phase: 'in_doubt',
    until: step.until ?? 0,
    since: now,
    begunAt,
    doubtedAt: Math.max(step.doubtedAt ?? 0, lost.to),
    code: 'restored',
    reason: `The database was put back from a copy of ${new Date(lost.from).toISOString()}. Between then and ${new Date(lost.to).toISOString()} it may have been done.`,
    afterLost: {
      hold: lost.id,
      first: before?.first ?? (byKey ? step.generation - 1 : step.generation),
      doubted: step.generation,
    },
  }
}

/** Below every generation: the step is known from here on. */
const NEVER = -2

/** Runs among these of which it is known that they did nothing in the hold's lost time: `tenant id hold`. */
export async function untouchedRuns(
  client: Queryable,
  runs: readonly { readonly tenant: string; readonly id: string }[],
): Promise<ReadonlySet<string>> {
  const { rows } = await client.query<{ tenant: string; run_id: string; hold_id: string }>({
    name: 'untouched_runs',
    text: `select tenant, run_id, hold_id from hold_untouched_runs
      where (tenant, run_id) in (select * from unnest($1::text[], $2::text[]))`,
    values: [runs.map((run) => run.tenant), runs.map((run) => run.id)],
  })
  return new Set(rows.map((row) => `${row.tenant} ${row.run_id} ${row.hold_id}`))
}
