import type { Clock } from '../base/index.ts'
import { MINUTE } from '../base/index.ts'
import { isWebhookSecretField } from './plan.ts'
import type { ConnectionSecrets } from './secrets.ts'

/**
 * Secrets that were rotated out. Each stays sealed in a field of its own, `former.3.apiKey`, the newest with the highest
 * number, and counts until its overlap ends. What one rotation puts aside has the same number.
 */

const PATTERN = /^former\.(\d+)\.(.+)$/

/** All webhook secrets are one kind: each verifies. */
export const WEBHOOK_SECRET_KIND = 'webhookSecret'

/** Of an OAuth client: what it shows to the token endpoint, and to nobody else. */
export const CLIENT_SECRET_KIND = 'clientSecret'

/** What a secret is in a rotation: its field, or the one word for every webhook secret. */
export function kindOf(field: string): string {
  return isWebhookSecretField(field) ? WEBHOOK_SECRET_KIND : field
}

export function formerField(number: number, kind: string): string {
  return `former.${number}.${kind}`
}

/** What a field holds that was rotated out; `undefined` for any other field. */
export function formerOf(field: string): { readonly number: number; readonly kind: string } | undefined {
  const found = PATTERN.exec(field)
  return found === null ? undefined : { number: Number(found[1]), kind: found[2]! }
}

/** Fields of what was rotated out of `kind` and is in its overlap, the newest first. */
export function formersOf(own: ConnectionSecrets, kind: string, now: number): readonly string[] {
  return own.fields
    .flatMap((field) => {
      const former = formerOf(field)
      const endsAt = own.expiresAt(field)
      return former?.kind === kind && endsAt !== undefined && now < endsAt ? [{ field, ...former }] : []
    })
    .sort((a, b) => b.number - a.number)
    .map(({ field }) => field)
}

/**
 * What one rotation put aside, by kind: the last that is in its overlap. What goes together, such as a name and its
 * password, has one number, so that halves of two rotations are never used as one.
 */
export function formersOfLast(
  own: ConnectionSecrets,
  kinds: readonly string[],
  now: number,
): ReadonlyMap<string, string> {
  const newest = kinds.flatMap((kind) => formersOf(own, kind, now).slice(0, 1))
  const last = Math.max(...newest.map((field) => formerOf(field)!.number))
  return new Map(
    newest.flatMap((field) => {
      const { number, kind } = formerOf(field)!
      return number === last ? [[kind, field] as const] : []
    }),
  )
}

/** Which of the two credentials of a rotation a request carries. */
export type Which = 'current' | 'former'

/** After the provider refused the new one, the former goes first for so long; then the new one is tried again. */
export const FORMER_FIRST_MS = MINUTE
/** Connections whose refusals are in memory. */
const MOST_REMEMBERED = 1000

/**
 * What this process has seen refused while both are valid, so that not every call is sent twice: a provider may take the
 * new credential some time after it was made, and may end the former one before we do.
 */
export interface Preference {
  which(key: string, version: string): Which
  refused(key: string, version: string, which: Which): void
}

export function createPreference(clock: Pick<Clock, 'monotonic'>): Preference {
  const seen = new Map<string, { version: string; at: number; last: Which }>()
  return {
    which(key, version) {
      const known = seen.get(key)
      if (known?.version !== version || known.last === 'former') return 'current'
      return clock.monotonic() - known.at < FORMER_FIRST_MS ? 'former' : 'current'
    },
    refused(key, version, which) {
      seen.delete(key)
      if (seen.size >= MOST_REMEMBERED) seen.delete(seen.keys().next().value!)
      seen.set(key, { version, at: clock.monotonic(), last: which })
    },
  }
}
