import { REFRESH_AHEAD_EVERY_MS } from '../vault/index.ts'
import type { Installation } from './installation.ts'

/**
 * Looks every few seconds for grants that near their end and for refreshes that lost their node, until stopped. In a
 * hold nothing leaves, so nothing is looked for.
 */
export function startCredentialUpkeep(
  { vault, clock, random }: Installation,
  inHold: () => boolean,
  onFault: (what: string, error: unknown) => void,
): () => Promise<void> {
  let stopped = false
  let under: Promise<void> = Promise.resolve()
  let cancel: () => void = () => {}
  const look = async (): Promise<void> => {
    if (!inHold()) await vault.refreshAhead()
  }
  const schedule = (): void => {
    if (stopped) return
    // Scattered, so that nodes that were started together do not look together.
    cancel = clock.after(REFRESH_AHEAD_EVERY_MS * (0.5 + random.next() / 2), () => {
      under = look()
        .catch((error: unknown) => onFault('refresh credentials ahead', error))
        .finally(schedule)
    })
  }
  schedule()
  return () => {
    stopped = true
    cancel()
    return under
  }
}
