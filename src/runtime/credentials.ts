import { REFRESH_AHEAD_EVERY_MS } from '../vault/index.ts'
import type { Installation } from './installation.ts'

/**
 * Looks every few seconds for grants that near their end and for refreshes and authorizations that lost their node, until stopped. In a
 * hold nothing leaves, so nothing is looked for.
 */
export function startCredentialUpkeep(
  { vault, clock, random }: Installation,
  inHold: () => boolean,
  onFault: (what: string, error: unknown) => void,
): () => Promise<void> {
  let stopped = false
  const under = new Set<Promise<void>>()
  const cancels = new Map<Look, () => void>()

  async function lookOnce({ what, look }: Look): Promise<void> {
    if (inHold()) return
    await look().catch((error: unknown) => onFault(what, error))
  }
  function schedule(look: Look): void {
    if (stopped) return
    // Scattered, so that nodes that were started together do not look together.
    const cancel = clock.after(REFRESH_AHEAD_EVERY_MS * (0.5 + random.next() / 2), () => {
      const looking = lookOnce(look).finally(() => {
        under.delete(looking)
        if (look.waits) schedule(look)
      })
      under.add(looking)
      if (!look.waits) schedule(look)
    })
    cancels.set(look, cancel)
  }

  schedule({ what: 'refresh credentials ahead', look: () => vault.refreshAhead(), waits: true })
  schedule({ what: 'go on with authorizations', look: () => vault.authorizations.takeUp(), waits: true })
  schedule({ what: 'refresh what was left behind', look: () => vault.refreshLeftBehind(), waits: false })
  return async () => {
    stopped = true
    for (const cancel of cancels.values()) cancel()
    await Promise.all(under)
  }
}

interface Look {
  readonly what: string
  readonly look: () => Promise<number>
  /** The next one is put off until this one is over. */
  readonly waits: boolean
}
