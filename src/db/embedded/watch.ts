import { type Clock, reasonOf, SECOND } from '../../base/index.ts'

export interface WatchOptions {
  /** The server is gone and is being brought back. */
  readonly onDown?: () => void
  /** It is back and answers; its data is as committed. */
  readonly onUp?: () => void
  /** Milliseconds between two looks. Default 1,000. */
  readonly everyMs?: number
}

/** A look-out that is under way. */
export interface ServerWatch {
  /** Ends it; waits for a start that is under way. May be called twice. */
  stop(): Promise<void>
}

const RETRY_FIRST_MS = 0.5 * SECOND
const RETRY_LAST_MS = 10 * SECOND

/** Looks again and again whether the server is up, and when it is not, tries to bring it back until that succeeds. */
export function watchServer(
  parts: {
    readonly clock: Clock
    readonly notice: (line: string) => void
    readonly isUp: () => Promise<boolean>
    readonly bringBack: () => Promise<void>
  },
  options: WatchOptions = {},
): ServerWatch {
  const { clock, notice, isUp, bringBack } = parts
  const ended = new AbortController()
  const { signal } = ended

  const wait = (ms: number): Promise<void> =>
    new Promise((resolve) => {
      if (signal.aborted) return resolve()
      const finish = (): void => {
        cancel()
        signal.removeEventListener('abort', finish)
        resolve()
      }
      const cancel = clock.after(ms, finish)
      signal.addEventListener('abort', finish)
    })

  const bringBackUntilUp = async (): Promise<void> => {
    for (let delay = RETRY_FIRST_MS; !signal.aborted; delay = Math.min(delay * 2, RETRY_LAST_MS)) {
      try {
        return await bringBack()
      } catch (error) {
        notice(reasonOf(error))
        await wait(delay)
      }
    }
  }

  const look = async (): Promise<void> => {
    for (;;) {
      await wait(options.everyMs ?? SECOND)
      if (signal.aborted) return
      if (await isUp()) continue
      options.onDown?.()
      await bringBackUntilUp()
      if (!signal.aborted) options.onUp?.()
    }
  }

  const done = look()
  return {
    stop() {
      ended.abort()
      return done
    },
  }
}
