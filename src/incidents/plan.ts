import type { Condition, IncidentKind, OpenIncident } from './incident.ts'

/** What one look changes. */
export interface Changes {
  readonly open: readonly Condition[]
  readonly update: readonly { readonly incident: OpenIncident; readonly now: Condition }[]
  readonly resolve: readonly OpenIncident[]
  /** Failing calls that turned out to be an outage: the same incident goes on as that. */
  readonly takeOver: readonly { readonly incident: OpenIncident; readonly now: Condition }[]
  /** Conditions that were not opened because there are too many incidents already. */
  readonly leftOut: number
}

/** Incidents that are open at once in a tenant; further conditions wait until some are resolved. */
export const OPEN_INCIDENTS_LIMIT = 500

/**
 * Compares what is wrong now with the incidents that are open: one for each condition, and none without. `looked`: the
 * kinds that were looked for; incidents of the others stay as they are. Failing calls that an outage covers are not told
 * apart from it: they open no incident, and where they have one already, a new outage goes on with it.
 */
export function planChanges(
  open: readonly OpenIncident[],
  conditions: readonly Condition[],
  looked: ReadonlySet<IncidentKind>,
): Changes {
  const present = new Map(conditions.map((condition) => [keyOf(condition), condition]))
  const known = new Map(open.map((incident) => [keyOf(incident), incident]))
  const outages = conditions.filter((condition) => condition.covers !== undefined)
  const isCovered = (one: Condition): boolean => outages.some((outage) => isPartOf(one, outage))
  const unknown = [...present.values()].filter(
    (condition) => !known.has(keyOf(condition)) && !isCovered(condition),
  )
  const takeOver = takingOver(open, unknown)
  const taken = new Set(takeOver.map(({ incident }) => incident.id))
  const left = open.filter((incident) => !taken.has(incident.id))
  const fresh = unknown.filter((condition) => !takeOver.some(({ now }) => now === condition))
  const resolve = left.filter((incident) => looked.has(incident.kind) && !present.has(keyOf(incident)))
  // That there is no room for others has a place of its own.
  const counts = ({ kind }: Pick<Condition, 'kind'>): boolean => kind !== 'left_out'
  const stay = open.filter(counts).length - resolve.filter(counts).length
  const room = Math.max(0, OPEN_INCIDENTS_LIMIT - stay)
  const others = fresh.filter(counts)
  return {
    open: [...fresh.filter((one) => !counts(one)), ...others.slice(0, room)],
    takeOver,
    update: left.flatMap((incident) => {
      const now = present.get(keyOf(incident))
      return now && differs(incident, now) ? [{ incident, now }] : []
    }),
    resolve,
    leftOut: Math.max(0, others.length - room),
  }
}

/** Each new outage with the oldest incident of calls that it covers, if there is one. */
function takingOver(open: readonly OpenIncident[], unknown: readonly Condition[]): Changes['takeOver'] {
  const taken = new Set<OpenIncident>()
  return unknown.flatMap((now) => {
    const incident = open.find((one) => isPartOf(one, now) && !taken.has(one))
    if (incident === undefined) return []
    taken.add(incident)
    return [{ incident, now }]
  })
}

/** Whether these are failing calls to what the outage covers. */
function isPartOf({ kind, subject }: Pick<Condition, 'kind' | 'subject'>, { covers }: Condition): boolean {
  if (kind !== 'failing_calls' || covers === undefined) return false
  const whole = `${covers.connectionId} ${covers.target}`
  return subject === whole || subject.startsWith(`${whole}.`)
}

function keyOf({ kind, subject }: Pick<Condition, 'kind' | 'subject'>): string {
  return `${kind}\0${subject}`
}

/** The title stays as it was told. */
function differs(before: OpenIncident, now: Condition): boolean {
  return before.what !== now.what || before.holdsUp !== now.holdsUp || before.todo !== now.todo
}
