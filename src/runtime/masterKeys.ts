import { SECOND } from '../base/index.ts'
import type { Installation } from './installation.ts'

/** Well within the time after which a silent process is taken for ended; see the vault's holders. */
const EVERY_MS = 10 * SECOND

/**
 * Says at once and every few seconds, in a hold too, which master keys this process has, until stopped: a rotation to
 * one that it lacks does not begin meanwhile.
 */
export async function startAnnouncingKeys(
  { vault, clock }: Installation,
  onFault: (what: string, error: unknown) => void,
): Promise<() => Promise<void>> {
  await vault.announceKeys()
  let stopped = false
  let under: Promise<void> = Promise.resolve()
  let cancel: () => void = () => {}
  const schedule = (): void => {
    if (stopped) return
    cancel = clock.after(EVERY_MS, () => {
      under = vault
        .announceKeys()
        .catch((error: unknown) => onFault('say which master keys are here', error))
        .finally(schedule)
    })
  }
  schedule()
  return async () => {
    stopped = true
    cancel()
    await under
    await vault.withdrawKeys()
  }
}
