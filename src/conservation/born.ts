import { HOUR, timeOfId } from '../base/index.ts'
import type { WrittenEntry } from '../ledger/index.ts'

/** An event or a run that the ledger says came to be. */
export interface Born {
  /** Of the event or of the run. */
  readonly id: string
  readonly connectionId: string
  /** Of a run; `''` for an event. */
  readonly flow: string
}

/** An entry that was too long to be kept whole: what it spoke of must be looked up. */
export interface Unlisted {
  readonly deliveryId: string
  readonly connectionId: string
}

interface ListedEvent {
  readonly id: string
  readonly runs?: readonly string[]
  readonly flows?: readonly string[]
}

/** The actions whose entries say that an event or a run came to be. */
export const BIRTHS = ['delivery.accepted', 'quarantine.released', 'run.replayed'] as const

/** What the entries say came to be. */
export function bornIn(entries: readonly WrittenEntry[]): {
  readonly born: readonly Born[]
  readonly unlisted: readonly Unlisted[]
} {
  const born: Born[] = []
  const unlisted: Unlisted[] = []
  for (const entry of entries) {
    const connectionId = entry.connectionId ?? ''
    const detail = (entry.detail ?? {}) as Readonly<Record<string, unknown>>
    if (entry.action === 'run.replayed') {
      const { flow, connection } = detail as { readonly flow?: string; readonly connection?: string }
      if (flow !== undefined) born.push({ id: entry.target, connectionId: connection ?? connectionId, flow })
    } else if (entry.action === 'quarantine.released')
      born.push(...runsOf(detail as unknown as ListedEvent, connectionId))
    else if (Array.isArray(detail['events']))
      for (const event of detail['events'] as readonly ListedEvent[])
        born.push({ id: event.id, connectionId, flow: '' }, ...runsOf(event, connectionId))
    else unlisted.push({ deliveryId: entry.target, connectionId })
  }
  return { born, unlisted }
}

/** An entry without the flows' names is of before they were written: its runs were never counted. */
function runsOf({ runs = [], flows }: ListedEvent, connectionId: string): Born[] {
  return flows === undefined ? [] : runs.map((id, i) => ({ id, connectionId, flow: flows[i] ?? '' }))
}

/** The hour in which something with this id came to be, in milliseconds: the same for its row and its entry. */
export function hourOf(id: string): number {
  return Math.floor(timeOfId(id) / HOUR) * HOUR
}
