import { pause, SECOND, type Clock } from '../base/index.ts'
import type { KeptAnswer, Refresh, RefreshStore } from './refreshes.ts'
import { keyOf, type ConnectionRef, type VaultStorage } from './storage.ts'

/** An answer that could not be committed is tried again at this interval, as long as the process lives. */
const KEEP_AGAIN_MS = SECOND

/** Sees to it that what a token endpoint said is committed, sealed, before anybody looks into it. */
export interface AnswerKeeper {
  /** Where the database is away, it throws, and goes on trying. */
  keep(connection: ConnectionRef, own: Refresh, answer: KeptAnswer): Promise<void>
  /** Commits what this process still holds of the connection. Throws where the database is away. */
  commitUnkept(connection: ConnectionRef): Promise<void>
  /** Resolves when every answer that this process got is committed. */
  kept(): Promise<void>
}

export function createAnswerKeeper(options: {
  readonly storage: VaultStorage
  readonly refreshes: Pick<RefreshStore, 'keepAnswer'>
  /** By which a commit is tried again. */
  readonly pollClock: Clock
}): AnswerKeeper {
  const { storage, refreshes, pollClock } = options
  /** Answers whose commit failed, by connection: they are kept here until it does not. */
  const unkept = new Map<string, () => Promise<void>>()
  const keeping = new Set<Promise<void>>()

  async function keep(connection: ConnectionRef, own: Refresh, answer: KeptAnswer): Promise<void> {
    const key = keyOf(connection)
    unkept.set(key, () =>
      storage.transaction((client) => refreshes.keepAnswer(client, connection, own, answer)),
    )
    try {
      await commitUnkept(key).catch(() => commitUnkept(key))
    } catch (error) {
      const trying = goOnKeeping(key).finally(() => keeping.delete(trying))
      keeping.add(trying)
      throw error
    }
  }

  async function commitUnkept(key: string): Promise<void> {
    const commit = unkept.get(key)
    await commit?.()
    if (unkept.get(key) === commit) unkept.delete(key)
  }

  async function goOnKeeping(key: string): Promise<void> {
    while (unkept.has(key)) {
      await pause(pollClock, KEEP_AGAIN_MS)
      await commitUnkept(key).catch(() => undefined)
    }
  }

  return {
    keep,
    commitUnkept: (connection) => commitUnkept(keyOf(connection)),
    async kept() {
      await Promise.all(keeping)
    },
  }
}
