import { beginConservation, countOnce, TURN_EVERY_MS, type ConservationOptions } from './check.ts'

/** A turn that took long is followed by a pause this many times as long: counting takes a twentieth of the time at most. */
const PAUSE_FACTOR = 19

/** Counts until stopped, a turn at a time over all nodes. Resolves once what comes to be from now on is counted. */
export async function keepConservation(
  options: ConservationOptions & { readonly onFault?: (what: string, error: unknown) => void },
): Promise<{ stop(): Promise<void> }> {
  const { clock, onFault = () => {} } = options
  await beginConservation(options)
  let stopped = false
  let cancel: () => void = () => {}
  let under: Promise<void> = Promise.resolve()
  const schedule = (ms: number): void => {
    if (stopped) return
    cancel = clock.after(ms, () => {
      under = turn().then(schedule)
    })
  }
  const turn = async (): Promise<number> => {
    try {
      const counted = await countOnce(options)
      if (counted.as === 'elsewhere') return TURN_EVERY_MS
      return counted.more ? 0 : Math.max(TURN_EVERY_MS, counted.ms * PAUSE_FACTOR)
    } catch (error) {
      onFault('count what must balance', error)
      return TURN_EVERY_MS
    }
  }
  schedule(0)
  return {
    stop() {
      stopped = true
      cancel()
      return under
    },
  }
}
