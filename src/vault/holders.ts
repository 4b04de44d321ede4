import { hostname } from 'node:os'
import { newId } from '../base/index.ts'
import type { Queryable } from '../db/index.ts'
import type { MasterKey } from './masterKey.ts'
import { sealingKey } from './sealingKey.ts'
import type { VaultStorage } from './storage.ts'

/** A process that has not said for this long which keys it has is taken for ended. Every one says it each 10 s. */
export const HOLDER_GONE_AFTER_MS = 30_000

/** A process that serves, as the one that rotates sees it. */
export interface Holder {
  readonly host: string
  readonly pid: number
  /** Names of the master keys that it can open with. */
  readonly keys: readonly string[]
}

export interface KeyHolder {
  /**
   * Says which master keys this process can open with, so that a rotation to a key that it lacks does not begin. Throws
   * `master_key_wrong` where one to such a key began before.
   */
  announceKeys(): Promise<void>
  /** It ends, and is waited for no longer. */
  withdrawKeys(): Promise<void>
}

export function createKeyHolder({
  storage,
  key,
}: {
  readonly storage: VaultStorage
  readonly key: MasterKey
}): KeyHolder {
  const id = newId('nod')
  const keys = [key, key.former].flatMap((one) => (one === undefined ? [] : [one.wrapper.id]))
  return {
    announceKeys: () =>
      storage.transaction(async (client) => {
        // Its lock puts this before or behind the beginning of a rotation, never beside it.
        await sealingKey(client, key)
        await client.query(
          `insert into master_key_holders (id, host, pid, keys) values ($1, $2, $3, $4)
           on conflict (id) do update set seen_at = clock_timestamp()`,
          [id, hostname(), process.pid, keys],
        )
        await client.query(
          `delete from master_key_holders where seen_at < clock_timestamp() - 10 * $1 * interval '1 millisecond'`,
          [HOLDER_GONE_AFTER_MS],
        )
      }),
    withdrawKeys: async () => {
      await storage.reader.query('delete from master_key_holders where id = $1', [id])
    },
  }
}

/** Processes that serve now. */
export async function listHolders(client: Queryable): Promise<readonly Holder[]> {
  const { rows } = await client.query<Holder>(
    `select host, pid, keys from master_key_holders
     where seen_at > clock_timestamp() - $1 * interval '1 millisecond' order by host, pid`,
    [HOLDER_GONE_AFTER_MS],
  )
  return rows
}

/** Those of them that could not open what is sealed under this key. */
export async function holdersWithout(client: Queryable, keyId: string): Promise<readonly Holder[]> {
  return (await listHolders(client)).filter(({ keys }) => !keys.includes(keyId))
}
