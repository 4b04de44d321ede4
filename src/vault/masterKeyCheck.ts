import { PermanentError } from '../base/index.ts'
import type { Queryable } from '../db/index.ts'
import type { MasterKey } from './masterKey.ts'
import { namesOf } from './seal.ts'
import { countSealed, type Census } from './sealedColumns.ts'
import { keyToSealWith } from './sealingKey.ts'

/** What to do where the present key and the former one stand in each other's place. */
export const SWAPPED =
  'If the two were taken for each other: the new key belongs in TRESTLE_MASTER_KEY (or .trestle/master.key), and the one until now in TRESTLE_MASTER_KEY_PREVIOUS (or .trestle/master.previous.key).'

/**
 * Throws `master_key_wrong` if something sealed in the database was sealed under a master key that this process does
 * not have, or if new values are, or would be, sealed under one that the others do not have. Writes nothing.
 */
export async function refuseForeignSeals(client: Queryable, key: MasterKey): Promise<void> {
  const census = await countSealed(client)
  const foreign = foreignOf(census, key)
  if (foreign.count > 0) throw wrongKey(foreign, census, key)
  const { rows } = await client.query<{ sealing: string }>('select sealing from master_key')
  const sealing = rows[0]?.sealing ?? ''
  keyToSealWith(sealing, key)
  if (sealing === '' && isSwapped(census, key))
    throw new PermanentError(
      'master_key_wrong',
      `Nothing in this database was ever sealed under the former master key ("${key.former!.wrapper.id}"), and new secrets would be, which no other node could open. Nothing was changed. ${SWAPPED} If no rotation is wanted, take the former key away.`,
    )
}

/** Before the first rotation everything is under the oldest key that is known, unless it is not the oldest. */
function isSwapped({ byKey }: Census, { wrapper, former }: MasterKey): boolean {
  return former !== undefined && byKey.has(wrapper.id) && !byKey.has(former.wrapper.id)
}

export interface Foreign {
  readonly count: number
  readonly names: readonly string[]
}

/** What was sealed under neither this key nor the one before it. */
export function foreignOf({ byKey }: Census, key: MasterKey): Foreign {
  const names = [...byKey.keys()].filter((name) => name !== key.wrapper.id && name !== key.former?.wrapper.id)
  return { count: names.reduce((sum, name) => sum + byKey.get(name)!, 0), names }
}

function wrongKey({ count, names }: Foreign, { all }: Census, key: MasterKey): PermanentError {
  const under = names.map((name) => (name === '' ? 'none that can be read' : `"${name}"`)).join(', ')
  return new PermanentError(
    'master_key_wrong',
    [
      `${count} of ${all} secrets in this database were sealed under another master key (${under}) than the present one (${namesOf(key)}), and cannot be opened. Nothing was changed.`,
      'Put the former TRESTLE_MASTER_KEY, or the former .trestle/master.key, back. In the middle of a rotation both keys are needed: the new one there, the former one as TRESTLE_MASTER_KEY_PREVIOUS or .trestle/master.previous.key.',
      `If it is lost for good, so are these secrets: see "A lost master key" in docs/guides/security.md.`,
    ].join(' '),
  )
}
