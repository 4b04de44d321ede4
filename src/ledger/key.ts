import { createPrivateKey, createPublicKey, hash, sign, verify, type KeyObject } from 'node:crypto'
import { PermanentError, type Random } from '../base/index.ts'
import type { Queryable } from '../db/index.ts'

/** DER around a raw Ed25519 seed (PKCS #8) and a raw public key (SPKI), RFC 8410. */
const PRIVATE_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex')
const PUBLIC_PREFIX = Buffer.from('302a300506032b6570032100', 'hex')
const SEED_BYTES = 32

const PUBLIC_KEY = 'ledger.public_key'
const PRIVATE_KEY = 'ledger.private_key'

/** How the private key is kept. The vault is a higher folder, so its two functions are given. */
export interface KeySeal {
  readonly seal: (plain: Buffer) => Promise<Buffer> | Buffer
  readonly open: (sealed: Buffer) => Promise<Buffer> | Buffer
}

/** The installation's key for signing blocks. */
export interface LedgerKey {
  /** First 16 hexadecimal digits of the SHA-256 of the public key. */
  readonly id: string
  /** Raw Ed25519 public key, 32 bytes. Keep a copy outside the database: it is what verification rests on. */
  readonly publicKey: Buffer
  sign(bytes: Uint8Array): Buffer
}

/**
 * The installation's key, made on first use and the same ever after, on all nodes. Throws a {@link PermanentError}
 * `ledger_key_unreadable` if the sealed private key does not open or does not belong to the public key beside it.
 */
export async function openLedgerKey(client: Queryable, keep: KeySeal, random: Random): Promise<LedgerKey> {
  const stored = (await readKey(client)) ?? (await createKey(client, keep, random))
  let seed: Buffer
  try {
    seed = await keep.open(stored.sealed)
  } catch (cause) {
    throw unreadable('does not open with this master key', cause)
  }
  const key = fromSeed(seed)
  if (!key.publicKey.equals(stored.publicKey))
    throw unreadable('does not belong to the public key stored beside it')
  return key
}

function unreadable(how: string, cause?: unknown): PermanentError {
  return new PermanentError(
    'ledger_key_unreadable',
    `The ledger's private key ${how}. Entries are still written, but no block can be signed. Start with the TRESTLE_MASTER_KEY that it was sealed under.`,
    { cause },
  )
}

interface StoredKey {
  readonly publicKey: Buffer
  readonly sealed: Buffer
}

async function readKey(client: Queryable): Promise<StoredKey | undefined> {
  const { rows } = await client.query<{ name: string; value: Buffer }>(
    'select name, value from installation where name in ($1, $2)',
    [PUBLIC_KEY, PRIVATE_KEY],
  )
  const publicKey = rows.find((row) => row.name === PUBLIC_KEY)?.value
  const sealed = rows.find((row) => row.name === PRIVATE_KEY)?.value
  return publicKey && sealed && { publicKey, sealed }
}

/** Both rows in one statement and in one order: of two nodes at once, one writes both and the other reads them. */
async function createKey(client: Queryable, keep: KeySeal, random: Random): Promise<StoredKey> {
  const seed = random.bytes(SEED_BYTES)
  await client.query(
    'insert into installation (name, value) values ($1, $2), ($3, $4) on conflict (name) do nothing',
    [PRIVATE_KEY, await keep.seal(seed), PUBLIC_KEY, fromSeed(seed).publicKey],
  )
  const stored = await readKey(client)
  if (!stored) throw unreadable('is missing')
  return stored
}

function fromSeed(seed: Buffer): LedgerKey {
  const privateKey = createPrivateKey({
    key: Buffer.concat([PRIVATE_PREFIX, seed]),
    format: 'der',
    type: 'pkcs8',
  })
  const publicKey = createPublicKey(privateKey)
    .export({ format: 'der', type: 'spki' })
    .subarray(PUBLIC_PREFIX.length)
  return { id: keyIdOf(publicKey), publicKey, sign: (bytes) => sign(null, bytes, privateKey) }
}

export function keyIdOf(publicKey: Uint8Array): string {
  return hash('sha256', publicKey, 'hex').slice(0, 16)
}

/** A raw public key made ready to verify with. */
export function publicKeyObject(publicKey: Uint8Array): KeyObject {
  return createPublicKey({ key: Buffer.concat([PUBLIC_PREFIX, publicKey]), format: 'der', type: 'spki' })
}

export function isSignedBy(key: KeyObject, bytes: Uint8Array, signature: Uint8Array): boolean {
  return verify(null, bytes, key, signature)
}
