import { PermanentError } from '../base/index.ts'
import type { Queryable } from '../db/index.ts'
import type { MasterKey } from './masterKey.ts'
import { namesOf } from './seal.ts'

/**
 * The master key to seal under now, by what the database says: a node that knows the next key already goes on sealing
 * under the present one until the rotation begins, since others may not know the next one yet. Holds it until the
 * caller's transaction ends, so that a rotation begins after what was sealed before is committed. Throws
 * `master_key_wrong` where this process does not have the key.
 */
export async function sealingKey(client: Queryable, key: MasterKey): Promise<MasterKey> {
  const { rows } = await client.query<{ sealing: string }>('select sealing from master_key for share')
  return keyToSealWith(rows[0]?.sealing ?? '', key)
}

/** `sealing`: the id of the key; empty: there was never a rotation, and the oldest key that is known counts. */
export function keyToSealWith(sealing: string, key: MasterKey): MasterKey {
  const oldest = key.former ?? key
  if (sealing === '' || sealing === oldest.wrapper.id) return oldest
  if (sealing === key.wrapper.id) return key
  throw new PermanentError(
    'master_key_wrong',
    `Secrets of this installation are sealed under the master key "${sealing}", and this process has ${namesOf(key)}. Nothing was changed. Start it again with the TRESTLE_MASTER_KEY that "trestle vault rotate" turned to.`,
  )
}
