import { SECOND, type Clock } from '../../base/index.ts'
import type { ViewerStream } from './viewerStream.ts'

/** How long a stream may go on after its session, or the token that opened it, has ended. */
export const SESSION_CHECK_MS = 5 * SECOND

/**
 * Ends a stream once its viewer may not watch any more: signed out, or the token was revoked or expired. Where that
 * cannot be known, because the database is away, nothing is sent either, and it is asked again.
 */
export function endWithSession(
  viewer: Pick<ViewerStream, 'end' | 'onEnd'>,
  watch: {
    readonly clock: Clock
    readonly isStillIn: () => Promise<boolean>
    readonly onFault: (error: unknown) => void
  },
): void {
  const { clock, isStillIn, onFault } = watch
  let ended = false
  let cancel = (): void => {}
  const checkLater = (): void => {
    if (ended) return
    cancel = clock.after(SESSION_CHECK_MS, () => {
      isStillIn()
        .then((isIn) => (isIn ? undefined : viewer.end()), onFault)
        .finally(checkLater)
    })
  }
  viewer.onEnd(() => {
    ended = true
    cancel()
  })
  checkLater()
}
