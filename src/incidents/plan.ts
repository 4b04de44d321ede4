import type { Condition, IncidentKind, OpenIncident } from './incident.ts'

/** What one look changes. */
export interface Changes {
  readonly open: readonly Condition[]
  readonly update: readonly { readonly incident: OpenIncident; readonly now: Condition }[]
  readonly resolve: readonly OpenIncident[]
  /** Conditions that were not opened because there are too many incidents already. */
  readonly leftOut: number
}

/** Incidents that are open at once in a tenant; further conditions wait until some are resolved. */
export const OPEN_INCIDENTS_LIMIT = 500

/**
 * Compares what is wrong now with the incidents that are open: one for each condition, and none without. `looked`: the
 * kinds that were looked for; incidents of the others stay as they are.
 */
export function planChanges(
  open: readonly OpenIncident[],
  conditions: readonly Condition[],
  looked: ReadonlySet<IncidentKind>,
): Changes {
  const present = new Map(conditions.map((condition) => [keyOf(condition), condition]))
  const known = new Map(open.map((incident) => [keyOf(incident), incident]))
  const fresh = [...present.values()].filter((condition) => !known.has(keyOf(condition)))
  const resolve = open.filter((incident) => looked.has(incident.kind) && !present.has(keyOf(incident)))
  const room = Math.max(0, OPEN_INCIDENTS_LIMIT - (open.length - resolve.length))
  return {
    open: fresh.slice(0, room),
    update: open.flatMap((incident) => {
      const now = present.get(keyOf(incident))
      return now && differs(incident, now) ? [{ incident, now }] : []
    }),
    resolve,
    leftOut: Math.max(0, fresh.length - room),
  }
}

function keyOf({ kind, subject }: Pick<Condition, 'kind' | 'subject'>): string {
  return `${kind}\0${subject}`
}

/** The title stays as it was told. */
function differs(before: OpenIncident, now: Condition): boolean {
  return before.what !== now.what || before.holdsUp !== now.holdsUp || before.todo !== now.todo
}
