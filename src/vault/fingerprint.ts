import { createHmac } from 'node:crypto'
import type { MasterKey } from './masterKey.ts'
import { prefixed, type SealedPlace } from './seal.ts'

/** Recognises the same secret in the same place; without the key it tells nothing, not even that two are equal. */
export function fingerprintOf(
  { fingerprintKey }: Pick<MasterKey, 'fingerprintKey'>,
  { tenant, record, field }: SealedPlace,
  value: Buffer,
): Buffer {
  const hmac = createHmac('sha256', fingerprintKey)
  for (const part of [tenant, record, field]) hmac.update(prefixed(Buffer.from(part), 4))
  return hmac.update(prefixed(value, 4)).digest()
}

/** Whether it is this value's, made under this master key or the one before it. */
export function isFingerprint(
  key: MasterKey,
  place: SealedPlace,
  value: Buffer,
  fingerprint: Buffer,
): boolean {
  if (fingerprintOf(key, place, value).equals(fingerprint)) return true
  return key.former !== undefined && fingerprintOf(key.former, place, value).equals(fingerprint)
}
