import type { PageToken, PollAsk, PollTrigger } from '../define/index.ts'

/** How far a poll has read. Kept as JSON; times are ISO 8601 in UTC. */
export interface Position {
  /** The latest change that was seen, or where the first poll begins; `null`: nothing yet, read from the beginning. */
  readonly cursor: string | null
  /** Where the list went on, for a list that only grows. */
  readonly token: PageToken | null
  /** A reading that is not through its pages yet. */
  readonly scan: Scan | null
}

interface Scan {
  readonly since: string | null
  readonly after: PageToken | null
  readonly highest: string | null
  /** When its first page was asked for; a reading that an older version began has none. */
  readonly began?: string
}

/** Where a poll of this declaration begins. */
export function firstPosition(trigger: PollTrigger, now: number): Position {
  return { cursor: trigger.from === 'now' ? new Date(now).toISOString() : null, token: null, scan: null }
}

/** Another time to read on from: what came since is read again, and what is known of it makes no second event. */
export function movedTo(time: number | undefined): Position {
  return { cursor: time === undefined ? null : new Date(time).toISOString(), token: null, scan: null }
}

/** What the next page is asked for; a new reading begins an overlap before the cursor. */
export function askOf(position: Position, overlapMs: number): PollAsk {
  const { scan, cursor, token } = position
  if (scan) return { since: scan.since ?? undefined, after: scan.after ?? undefined }
  return {
    since: cursor === null ? undefined : new Date(Date.parse(cursor) - overlapMs).toISOString(),
    after: token ?? undefined,
  }
}

/** What was read of a page. */
export interface ReadPage {
  readonly ask: PollAsk
  /** When its items changed, in milliseconds since 1970, in their order; without those that do not say. */
  readonly times: readonly number[]
  /** Where the source says that the next page is. */
  readonly next: PageToken | undefined
  /** When the page was asked for. */
  readonly askedAt: number
  /** The cursor moves no further: an item that is dated into the future must not hide those before it. */
  readonly now: number
}

/** The position behind the page, and whether there is another one to read now. */
export interface Moved {
  readonly position: Position
  readonly more: boolean
}

/** Moves behind a page. Pure: the caller commits it with the page's events. */
export function behind(
  position: Position,
  page: ReadPage,
  source: { readonly changedAt?: unknown; readonly order?: 'changedAt' | 'any' },
): Moved {
  if (source.changedAt === undefined) return grown(page)
  const { ask, times, next } = page
  const { scan } = position
  const highest = latest(scan?.highest, times)
  const began = scan === null ? new Date(page.askedAt).toISOString() : scan.began
  // What of an earlier page changed while later ones were read was not seen: the cursor stays before that.
  const known =
    source.order === 'changedAt' || scan === null ? new Date(page.now).toISOString() : (began ?? scan.since)
  const seen = highest === null || known === null ? null : [highest, known].sort()[0]!
  if (next === undefined)
    return { position: { cursor: latest(position.cursor, [], seen), token: null, scan: null }, more: false }
  const since = ask.since ?? null
  // In order, the cursor itself is the place: items that change while they are read move behind it, and none shifts
  // out of sight. Only within one instant a page is counted on from the page before.
  const moves = source.order === 'changedAt' && highest !== null && (since === null || highest > since)
  return {
    position: {
      cursor: source.order === 'changedAt' ? latest(position.cursor, [], seen) : position.cursor,
      token: null,
      scan: {
        since: moves ? highest : since,
        after: moves ? null : next,
        highest,
        ...(began !== undefined && { began }),
      },
    },
    more: true,
  }
}

/** Without times the token is all there is: the last page is asked for again until it has a successor. */
function grown({ ask, next }: ReadPage): Moved {
  const token = next ?? ask.after ?? null
  return { position: { cursor: null, token, scan: null }, more: next !== undefined }
}

/** The latest of them; ISO 8601 texts of one length sort as the times that they say. */
function latest(
  before: string | null | undefined,
  times: readonly number[],
  other: string | null = null,
): string | null {
  const found = [before, other, ...times.map((time) => new Date(time).toISOString())].filter(
    (time) => typeof time === 'string',
  )
  return found.length === 0 ? null : found.reduce((a, b) => (a > b ? a : b))
}
