import { MINUTE, SECOND, type Clock, type Random } from '../base/index.ts'
import type { Connection } from './connections.ts'
import type { VersionedGrant } from './grants.ts'
import type { KeptAnswer, Refresh } from './refreshes.ts'

export type RefreshOutcome =
  | { readonly as: 'refreshed'; readonly grant: VersionedGrant }
  | { readonly as: 'postponed'; readonly code: string; readonly reason: string; readonly retryAt: number }
  | { readonly as: 'refused'; readonly code: string; readonly reason: string }

/** When it may come again: whatever ends the turn, the next caller should find out at once. */
const BUSY_PAUSE_MS = SECOND
/** The first pause after the token endpoint failed; each further one is twice as long. */
const FIRST_PAUSE_MS = 5 * SECOND
const LONGEST_OWN_PAUSE_MS = 5 * MINUTE
/** Longest pause that a token endpoint can ask for. */
const LONGEST_PAUSE_MS = 15 * MINUTE

/** Each pause is twice the last, a little scattered; a time that the endpoint named counts, within reason. */
export function retryAtOf(
  { failures }: Refresh,
  named: number | undefined,
  { clock, random }: { readonly clock: Clock; readonly random: Random },
): number {
  const now = clock.now()
  const own = Math.min(FIRST_PAUSE_MS * 2 ** Math.min(failures, 10), LONGEST_OWN_PAUSE_MS)
  const scattered = failures === 0 ? own : own * (0.8 + 0.4 * random.next())
  return Math.min(Math.max(named ?? 0, now + Math.round(scattered)), now + LONGEST_PAUSE_MS)
}
/** Somebody else has the turn. */
export function busy(connection: Connection, clock: Clock): RefreshOutcome {
  return {
    as: 'postponed',
    code: 'credential_busy',
    reason: `Another node is refreshing the grant of connection "${connection.name}", and its token endpoint is slow.`,
    retryAt: clock.now() + BUSY_PAUSE_MS,
  }
}
/**
 * Whether tokens may have been granted behind an answer that has none: a gateway gives up on a server that goes on
 * (RFC 9110, 15.6.3 and 15.6.5), and a 200 that cannot be read is somebody's word that it was done.
 */
export function mayHideTokens({ status }: KeptAnswer): boolean {
  return status === 200 || status === 502 || status === 504
}
