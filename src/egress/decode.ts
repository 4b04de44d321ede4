import { promisify } from 'node:util'
import { brotliDecompress, gunzip, inflate, inflateRaw, type ZlibOptions } from 'node:zlib'
import type { EgressPolicy } from './policy.ts'

type Decoded =
  | { readonly as: 'decoded'; readonly body: Buffer }
  | { readonly as: 'refused'; readonly code: 'too_large' | 'truncated'; readonly reason: string }

/** What we can read, said to the provider when the request does not say it itself. */
export const ACCEPT_ENCODING = 'gzip, deflate, br'

type Decode = (body: Buffer, options: ZlibOptions) => Promise<Buffer>

const DECODERS: ReadonlyMap<string, Decode> = new Map([
  ['gzip', promisify<Buffer, ZlibOptions, Buffer>(gunzip)],
  ['x-gzip', promisify<Buffer, ZlibOptions, Buffer>(gunzip)],
  ['br', promisify<Buffer, ZlibOptions, Buffer>(brotliDecompress)],
  ['deflate', decodeDeflate],
])

/** `deflate` is zlib's format (RFC 9110, 8.4.1.2), but some servers send it bare; the first nibble tells. */
async function decodeDeflate(body: Buffer, options: ZlibOptions): Promise<Buffer> {
  const wrapped = (body[0]! & 0x0f) === 8
  return promisify<Buffer, ZlibOptions, Buffer>(wrapped ? inflate : inflateRaw)(body, options)
}

/** Undoes a body's content encoding. */
type DecodeBody = (body: Buffer, encoding: string) => Promise<Decoded>

/** Bodies that may unpack to more than this take turns. */
const LARGE_BYTES = 1024 * 1024
/** Large bodies unpacked at once, as many as Node has threads for it: more would only hold memory. */
const LARGE_AT_ONCE = 4

/**
 * Undoes content encodings within bounds: never more than the policy's size, and never more than its ratio to the
 * bytes received, so that a small answer cannot become a large one (a decompression bomb); nor can many at once.
 */
export function createDecoder(policy: EgressPolicy): DecodeBody {
  let large = 0
  const waiting: (() => void)[] = []

  async function taking<T>(turns: boolean, work: () => Promise<T>): Promise<T> {
    if (!turns) return work()
    if (large >= LARGE_AT_ONCE) await new Promise<void>((resolve) => waiting.push(resolve))
    else large++
    try {
      return await work()
    } finally {
      const next = waiting.shift()
      if (next) next()
      else large--
    }
  }

  return async (body, encoding) => {
    const names = namesOf(encoding)
    if (names.length === 0 || body.length === 0) return { as: 'decoded', body }
    const decoder = DECODERS.get(names[0]!)
    if (names.length > 1 || decoder === undefined)
      return refused(
        'truncated',
        `The answer is encoded as "${encoding.slice(0, 100)}", which cannot be read.`,
      )
    const limit = Math.min(
      policy.maxBodyBytes,
      Math.max(policy.decodeFloorBytes, body.length * policy.maxDecodeRatio),
    )
    try {
      const decoded = await taking(limit > LARGE_BYTES, () => decoder(body, { maxOutputLength: limit }))
      return { as: 'decoded', body: decoded }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE')
        return refused(
          'too_large',
          `The answer's body of ${body.length} bytes unpacks to more than ${limit} bytes, which is refused.`,
        )
      return refused('truncated', `The answer's body is not valid ${names[0]}: ${(error as Error).message}.`)
    }
  }
}

function namesOf(encoding: string): string[] {
  return encoding
    .toLowerCase()
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '' && name !== 'identity')
}

function refused(code: 'too_large' | 'truncated', reason: string): Decoded {
  return { as: 'refused', code, reason }
}
