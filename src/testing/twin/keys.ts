import { createHash } from 'node:crypto'
import type { Clock } from '../../base/index.ts'
import type { TwinAnswer, TwinRequest } from './routes.ts'

export interface KeyStoreOptions {
  readonly clock: Clock
  /** How long the provider remembers a key. */
  readonly lifetimeMs: number
  /** The answer to a known key with other parameters. */
  readonly onMismatch: (key: string) => TwinAnswer
  /** The answer while the first request with the key is still being worked on. */
  readonly onInFlight: (key: string) => TwinAnswer
  /** Which answers are remembered. Default: all, errors too (Stripe). */
  readonly remembers?: (answer: TwinAnswer) => boolean
  /** Headers added to a remembered answer, such as `idempotent-replayed: true`. */
  readonly replayHeaders?: Readonly<Record<string, string>>
}

/** A provider's memory of idempotency keys. */
export interface KeyStore {
  /**
   * Acts once per key and answers the same to every further request with it. Without a key it always acts.
   * `digest` tells whether the parameters are the same; default: method, path and body.
   */
  once<State>(
    request: TwinRequest<State>,
    key: string | undefined,
    act: () => TwinAnswer | Promise<TwinAnswer>,
    digest?: string,
  ): Promise<TwinAnswer>
  /** Forgets every key, as a provider may after their lifetime. */
  forget(): void
}

interface Remembered {
  readonly digest: string
  readonly at: number
  answer: TwinAnswer | undefined
}

export function createKeyStore(options: KeyStoreOptions): KeyStore {
  const known = new Map<string, Remembered>()
  return {
    async once(request, key, act, digest = digestOf(request)) {
      if (key === undefined) return request.failInside ?? act()
      const earlier = known.get(key)
      if (earlier && options.clock.now() - earlier.at < options.lifetimeMs) {
        if (earlier.digest !== digest) return options.onMismatch(key)
        if (!earlier.answer) return options.onInFlight(key)
        return { ...earlier.answer, headers: { ...earlier.answer.headers, ...options.replayHeaders } }
      }
      const entry: Remembered = { digest, at: options.clock.now(), answer: undefined }
      known.set(key, entry)
      try {
        entry.answer = request.failInside ?? (await act())
        if (options.remembers?.(entry.answer) === false) known.delete(key)
        return entry.answer
      } catch (error) {
        known.delete(key)
        throw error
      }
    },
    forget: () => known.clear(),
  }
}

function digestOf(request: { method: string; path: string; body: Buffer }): string {
  return createHash('sha256').update(`${request.method} ${request.path}\n`).update(request.body).digest('hex')
}
