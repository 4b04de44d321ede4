import { createCipheriv, createDecipheriv, createHmac, hkdfSync } from 'node:crypto'
import { link, mkdir, open, unlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { PermanentError, UsageError, type Random } from '../base/index.ts'

/**
 * Wraps the data keys of sealed values. The key itself may stand in this process (see {@link localMasterKey}) or
 * in a key management service, which then implements the same three members.
 */
export interface KeyWrapper {
  /** Names the key; stored in clear with every value that it protects. At most 100 bytes of ASCII. */
  readonly id: string
  /** Encrypts a data key of 32 bytes. */
  wrap(dataKey: Buffer): Promise<Buffer>
  /**
   * Gives the data key back. Throws a `RetryableError` if the key cannot be reached now; any other error means
   * that these bytes were not wrapped by this key.
   */
  unwrap(wrapped: Buffer): Promise<Buffer>
}

/** What the vault seals with. */
export interface MasterKey {
  readonly wrapper: KeyWrapper
  /** Key of the HMAC that recognises an unchanged secret without opening the sealed one. 32 bytes. */
  readonly fingerprintKey: Buffer
  /** The one before it, known while a rotation turns from it to this one: what it sealed opens too. */
  readonly former?: MasterKey
}

export interface MasterKeyOptions {
  /** The text of `TRESTLE_MASTER_KEY`; it goes before the file. */
  readonly value: string | undefined
  /** Where the key is kept otherwise, such as `.trestle/master.key`. Left out: only `value` is looked at. */
  readonly file?: string
  /** Makes the file if it is not there. For development: on a server the key comes from outside. */
  readonly mayGenerate: boolean
  readonly random: Random
  /**
   * The text of `TRESTLE_MASTER_KEY_PREVIOUS`, while a rotation turns from that key. It goes before the file
   * `master.previous.key` beside `file`.
   */
  readonly previous?: string | undefined
}

export interface FoundMasterKey {
  readonly key: MasterKey
  readonly from: 'environment' | 'file' | 'generated'
}

const KEY_BYTES = 32
const NONCE_BYTES = 12
const TAG_BYTES = 16
/** Where the former key is kept while it is needed, beside `master.key`. */
const FORMER_FILE = 'master.previous.key'
const HOW_TO_MAKE = 'Make a key with: openssl rand -base64 32'

/**
 * Finds the master key, or makes one where that is allowed, and the former one where that is given. Throws a
 * {@link UsageError} that says how to mend it.
 */
export async function readMasterKey(options: MasterKeyOptions): Promise<FoundMasterKey> {
  const former = await readFormerKey(options)
  const { key, from } = await readPresentKey(options)
  return { key: former === undefined ? key : { ...key, former }, from }
}

async function readFormerKey({ previous, file, random }: MasterKeyOptions): Promise<MasterKey | undefined> {
  if (previous !== undefined && previous.trim() !== '')
    return masterKeyOf(previous, 'TRESTLE_MASTER_KEY_PREVIOUS', random)
  if (file === undefined) return undefined
  const path = join(dirname(file), FORMER_FILE)
  const kept = await readKeyFile(path)
  return kept === undefined ? undefined : masterKeyOf(kept, path, random)
}

async function readPresentKey(options: MasterKeyOptions): Promise<FoundMasterKey> {
  if (options.value !== undefined && options.value.trim() !== '')
    return { key: masterKeyOf(options.value, 'TRESTLE_MASTER_KEY', options.random), from: 'environment' }
  const kept = options.file === undefined ? undefined : await readKeyFile(options.file)
  if (kept !== undefined) return { key: masterKeyOf(kept, options.file!, options.random), from: 'file' }
  if (options.file === undefined || !options.mayGenerate)
    throw new UsageError(
      'master_key_missing',
      `TRESTLE_MASTER_KEY is not set, and without it no secret can be sealed or opened. ${HOW_TO_MAKE}, set the variable to it, and keep a copy in a safe place: secrets cannot be recovered without it.`,
    )
  const draft = `${options.file}.${options.random.bytes(8).toString('hex')}.new`
  await writeKeyFile(options.file, draft, `${options.random.bytes(KEY_BYTES).toString('base64')}\n`)
  // Read again: another process may have been first, and its key then stands.
  return {
    key: masterKeyOf((await readKeyFile(options.file)) ?? '', options.file, options.random),
    from: 'generated',
  }
}

/** A master key from its text, 32 bytes as base64 or hex. `source` is named in the error. */
export function masterKeyOf(text: string, source: string, random: Random): MasterKey {
  const bytes = decodeKey(text.trim())
  if (bytes === undefined)
    throw new UsageError(
      'master_key_invalid',
      `${source} is not a master key: it must be 32 bytes, written as 64 hex digits or 44 characters of base64. ${HOW_TO_MAKE}`,
    )
  if (bytes.every((byte) => byte === bytes[0]))
    throw new UsageError(
      'master_key_invalid',
      `${source} is the same byte 32 times, which is no secret. ${HOW_TO_MAKE}`,
    )
  return localMasterKey(bytes, random)
}

/** The 32 bytes of a key's text; `undefined` where it is none. */
export function decodeKey(text: string): Buffer | undefined {
  if (/^[0-9a-f]{64}$/i.test(text)) return Buffer.from(text, 'hex')
  if (!/^[A-Za-z0-9+/_-]{43}=?$/.test(text)) return undefined
  const bytes = Buffer.from(text, 'base64')
  const canonical =
    bytes.toString('base64url') === text.replace('=', '').replaceAll('+', '-').replaceAll('/', '_')
  return bytes.length === KEY_BYTES && canonical ? bytes : undefined
}

/** A master key that stands in this process. Separate keys for wrapping, naming and fingerprints come from it (HKDF, RFC 5869). */
export function localMasterKey(bytes: Buffer, random: Random): MasterKey {
  const wrappingKey = derive(bytes, 'trestle wrap')
  const id = `local-${createHmac('sha256', derive(bytes, 'trestle name')).update('id').digest('hex').slice(0, 16)}`
  return {
    fingerprintKey: derive(bytes, 'trestle fingerprint'),
    wrapper: {
      id,
      wrap: (dataKey) =>
        Promise.resolve(encryptKey({ key: wrappingKey, id, nonce: random.bytes(NONCE_BYTES), dataKey })),
      unwrap: (wrapped) => Promise.resolve().then(() => decryptKey(wrappingKey, id, wrapped)),
    },
  }
}

function derive(master: Buffer, use: string): Buffer {
  return Buffer.from(hkdfSync('sha256', master, Buffer.alloc(0), use, KEY_BYTES))
}

function encryptKey(use: { key: Buffer; id: string; nonce: Buffer; dataKey: Buffer }): Buffer {
  const cipher = createCipheriv('aes-256-gcm', use.key, use.nonce).setAAD(Buffer.from(use.id))
  return Buffer.concat([use.nonce, cipher.update(use.dataKey), cipher.final(), cipher.getAuthTag()])
}

function decryptKey(key: Buffer, id: string, wrapped: Buffer): Buffer {
  if (wrapped.length !== NONCE_BYTES + KEY_BYTES + TAG_BYTES)
    throw new PermanentError('secret_unreadable', 'The wrapped data key has the wrong length.')
  const nonce = wrapped.subarray(0, NONCE_BYTES)
  const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES })
    .setAAD(Buffer.from(id))
    .setAuthTag(wrapped.subarray(-TAG_BYTES))
  const dataKey = decipher.update(wrapped.subarray(NONCE_BYTES, -TAG_BYTES))
  decipher.final()
  return dataKey
}

/** The file's text; `undefined` if there is none. Refuses a file that other users of the machine can read. */
async function readKeyFile(path: string): Promise<string | undefined> {
  const file = await open(path, 'r').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw new UsageError(
      'master_key_unreadable',
      `The master key in ${path} cannot be read (${error.code}). Let the user that runs Trestle own it: chown "$(id -un)" ${path} && chmod 600 ${path}`,
      { cause: error },
    )
  })
  if (file === undefined) return undefined
  try {
    const { mode } = await file.stat()
    // Windows keeps no such bits: there every file reads as open to all.
    if (process.platform !== 'win32' && (mode & 0o077) !== 0)
      throw new UsageError(
        'master_key_exposed',
        `Other users of this machine can read the master key in ${path} (mode ${(mode & 0o777).toString(8)}). Mend it with: chmod 600 ${path}`,
      )
    return await file.readFile('utf8')
  } finally {
    await file.close()
  }
}

/** Puts the whole file in place at once, on disk, or leaves the one that is already there. */
async function writeKeyFile(path: string, draft: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  const file = await open(draft, 'wx', 0o600)
  try {
    await file.chmod(0o600)
    await file.writeFile(text)
    await file.sync()
  } finally {
    await file.close()
  }
  await link(draft, path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error
  })
  await unlink(draft)
  await syncDirectory(dirname(path))
}

async function syncDirectory(path: string): Promise<void> {
  if (process.platform === 'win32') return
  const directory = await open(path, 'r')
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}
