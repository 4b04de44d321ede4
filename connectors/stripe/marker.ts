import type { JsonValue, ProviderAnswer } from 'trestle'

/**
 * The key of metadata under which what we create carries our idempotency key, so that it can be found after Stripe
 * has forgotten the key itself.
 */
export const MARKER = 'trestle_key'

/** What Stripe's list endpoints say at once; the wait is for a request that is still running. */
export const SETTLE_AFTER_MS = 60_000

/** Metadata with the marker. */
export function marked(
  metadata: Readonly<Record<string, string | null>> | undefined,
  key: string,
): Record<string, string | null> {
  return { ...metadata, [MARKER]: key }
}

/** The object in a list that carries the key; undefined if none does. Throws if the list is not the whole. */
export function findMarked(answer: ProviderAnswer, key: string): JsonValue | undefined {
  const page = answer.json as { data?: { metadata?: Record<string, string> | null }[]; has_more?: boolean }
  if (answer.status !== 200 || !Array.isArray(page?.data))
    throw new Error(`Stripe answered the look-up with ${answer.status}: ${answer.text.slice(0, 200)}`)
  const found = page.data.find(({ metadata }) => metadata?.[MARKER] === key)
  if (!found && page.has_more)
    throw new Error('There are more than 100 objects to look through, so "not found" would prove nothing.')
  return found
}
