import type { Condition, IncidentKind } from './incident.ts'
import { OPEN_INCIDENTS_LIMIT } from './plan.ts'

/** What no incident is opened for: there is more of these kinds than is read, or more is wrong than may be open. */
export interface LeftOut {
  readonly unread: readonly IncidentKind[]
  /** How many conditions found no room. */
  readonly noRoom: number
}

/** Said when it is over. */
export const LEFT_OUT_OVER = 'Everything that is wrong has an incident of its own again.'

/** One incident that says that incidents are not all that is wrong, so that nothing is left out in silence. */
export function leftOutCondition({ unread, noRoom }: LeftOut, now: number): Condition | undefined {
  if (unread.length === 0 && noRoom === 0) return undefined
  const said = [
    ...(unread.length === 0
      ? []
      : [`There is more of ${unread.join(', ')} than is looked at for each: further ones have no incident.`]),
    ...(noRoom === 0
      ? []
      : [`There are ${OPEN_INCIDENTS_LIMIT} open incidents, and further ones are not opened.`]),
  ]
  return {
    kind: 'left_out',
    subject: 'incidents',
    title: 'More is wrong than there are incidents for',
    what: said.join(' '),
    since: now,
    holdsUp:
      'Nothing by itself; but what has no incident is told to nobody, and of a kind that is not read whole no incident ends.',
    todo: 'Look at the lists themselves: trestle dead-letters, trestle runs --state held, trestle connections, trestle outages. Incidents follow as the others end.',
  }
}
