import { createCipheriv, createDecipheriv } from 'node:crypto'
import { PermanentError, RetryableError, UsageError, type Random } from '../base/index.ts'
import type { KeyWrapper, MasterKey } from './masterKey.ts'

/** Where a sealed value belongs. It opens there and nowhere else. */
export interface SealedPlace {
  readonly tenant: string
  /** The record's id, such as a connection's. */
  readonly record: string
  readonly field: string
}

/** Most bytes that one value may have. */
export const SEALED_VALUE_LIMIT = 256 * 1024

const FORMAT = 1
const DATA_KEY_BYTES = 32
const NONCE_BYTES = 12
const TAG_BYTES = 16

/**
 * Seals a value by envelope encryption: AES-256-GCM (NIST SP 800-38D) under a fresh data key, which the master key
 * wraps. The tenant, the record, the field and the header (with the master key's id and the wrapped data key) are
 * authenticated with it, so that a sealed value moved to another row, or put together from two, does not open.
 *
 * Bytes: format (1) | length of key id (1) | key id | length of wrapped key (2) | wrapped key | nonce (12) |
 * ciphertext | tag (16).
 */
export async function seal(
  wrapper: KeyWrapper,
  place: SealedPlace,
  value: Buffer,
  random: Random,
): Promise<Buffer> {
  if (value.length > SEALED_VALUE_LIMIT)
    throw new UsageError(
      'secret_too_long',
      `The secret ${place.field} has ${value.length} bytes; at most ${SEALED_VALUE_LIMIT} can be sealed.`,
    )
  const dataKey = random.bytes(DATA_KEY_BYTES)
  try {
    const header = Buffer.concat([keyHeader(wrapper.id), prefixed(await wrapper.wrap(dataKey), 2)])
    const nonce = random.bytes(NONCE_BYTES)
    const cipher = createCipheriv('aes-256-gcm', dataKey, nonce).setAAD(authenticated(header, place))
    return Buffer.concat([header, nonce, cipher.update(value), cipher.final(), cipher.getAuthTag()])
  } finally {
    dataKey.fill(0)
  }
}

/**
 * Opens a sealed value, whether it was sealed under this master key or the one before it. Throws a
 * {@link PermanentError} `secret_unreadable` if it was altered, was moved from another place, or was sealed under a
 * master key that is neither.
 */
export async function open(
  key: Pick<MasterKey, 'wrapper' | 'former'>,
  place: SealedPlace,
  sealed: Buffer,
): Promise<Buffer> {
  const parts = partsOf(sealed)
  if (parts === undefined) throw unreadable(place, 'it is not in a format that this version knows')
  const wrapper = wrappersOf(key).find(({ id }) => id === parts.keyId)
  if (wrapper === undefined)
    throw unreadable(
      place,
      `it was sealed under the master key "${parts.keyId}", and this process has ${namesOf(key)}. Put the former TRESTLE_MASTER_KEY back; where "trestle vault rotate" turned to that key, start this process again with it`,
    )
  let dataKey: Buffer | undefined
  try {
    dataKey = await wrapper.unwrap(parts.wrapped)
    const decipher = createDecipheriv('aes-256-gcm', dataKey, parts.nonce, { authTagLength: TAG_BYTES })
      .setAAD(authenticated(parts.header, place))
      .setAuthTag(parts.tag)
    return Buffer.concat([decipher.update(parts.ciphertext), decipher.final()])
  } catch (cause) {
    if (cause instanceof RetryableError) throw cause
    throw unreadable(place, 'it was altered, or belongs to another record', cause)
  } finally {
    dataKey?.fill(0)
  }
}

/** The first bytes of everything sealed under this master key: tells which values it cannot open, without opening. */
export function keyHeader(keyId: string): Buffer {
  return Buffer.concat([Buffer.from([FORMAT]), prefixed(Buffer.from(keyId, 'latin1'), 1)])
}

function wrappersOf({ wrapper, former }: Pick<MasterKey, 'wrapper' | 'former'>): readonly KeyWrapper[] {
  return former === undefined ? [wrapper] : [wrapper, former.wrapper]
}

/** For messages: `"local-1"`, or `"local-2" and "local-1"`. */
export function namesOf(key: Pick<MasterKey, 'wrapper' | 'former'>): string {
  return wrappersOf(key)
    .map(({ id }) => `"${id}"`)
    .join(' and ')
}

interface SealedParts {
  readonly header: Buffer
  readonly keyId: string
  readonly wrapped: Buffer
  readonly nonce: Buffer
  readonly ciphertext: Buffer
  readonly tag: Buffer
}

function partsOf(sealed: Buffer): SealedParts | undefined {
  if (sealed.length < 2 || sealed[0] !== FORMAT) return undefined
  const wrappedAt = 2 + sealed[1]! + 2
  if (sealed.length < wrappedAt) return undefined
  const bodyAt = wrappedAt + sealed.readUInt16BE(wrappedAt - 2)
  if (sealed.length < bodyAt + NONCE_BYTES + TAG_BYTES) return undefined
  return {
    header: sealed.subarray(0, bodyAt),
    keyId: sealed.toString('latin1', 2, wrappedAt - 2),
    wrapped: sealed.subarray(wrappedAt, bodyAt),
    nonce: sealed.subarray(bodyAt, bodyAt + NONCE_BYTES),
    ciphertext: sealed.subarray(bodyAt + NONCE_BYTES, -TAG_BYTES),
    tag: sealed.subarray(-TAG_BYTES),
  }
}

/** What is authenticated beside the value. Every part carries its length, so that no two places read the same. */
function authenticated(header: Buffer, place: SealedPlace): Buffer {
  const parts = [place.tenant, place.record, place.field].map((part) => prefixed(Buffer.from(part), 4))
  return Buffer.concat([prefixed(header, 4), ...parts])
}

/** Bytes behind their length, written big-endian in `width` bytes. */
export function prefixed(bytes: Buffer, width: number): Buffer {
  const length = Buffer.alloc(width)
  length.writeUIntBE(bytes.length, 0, width)
  return Buffer.concat([length, bytes])
}

function unreadable(place: SealedPlace, why: string, cause?: unknown): PermanentError {
  return new PermanentError(
    'secret_unreadable',
    `The secret ${place.field} of ${place.record} cannot be opened: ${why}. Nothing was changed. Restore the row from a backup, or give the secret again with: trestle connections add`,
    { cause },
  )
}
