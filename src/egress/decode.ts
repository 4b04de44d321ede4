import { promisify } from 'node:util'
import { brotliDecompress, gunzip, inflate, inflateRaw, type ZlibOptions } from 'node:zlib'
import type { EgressPolicy } from './policy.ts'

export type Decoded =
  | { readonly as: 'decoded'; readonly body: Buffer }
  | { readonly as: 'refused'; readonly code: 'too_large' | 'truncated'; readonly reason: string }

/** What we can read, said to the provider when the request does not say it itself. */
export const ACCEPT_ENCODING = 'gzip, deflate, br'

const DECODERS: Readonly<Record<string, (body: Buffer, options: ZlibOptions) => Promise<Buffer>>> = {
  gzip: promisify<Buffer, ZlibOptions, Buffer>(gunzip),
  'x-gzip': promisify<Buffer, ZlibOptions, Buffer>(gunzip),
  br: promisify<Buffer, ZlibOptions, Buffer>(brotliDecompress),
  deflate: decodeDeflate,
}

/** `deflate` is zlib's format (RFC 9110, 8.4.1.2), but some servers send it bare; the first nibble tells. */
async function decodeDeflate(body: Buffer, options: ZlibOptions): Promise<Buffer> {
  const wrapped = (body[0]! & 0x0f) === 8
  return promisify<Buffer, ZlibOptions, Buffer>(wrapped ? inflate : inflateRaw)(body, options)
}

/**
 * Undoes a body's content encoding within bounds: never more than the policy's size, and never more than its ratio
 * to the bytes received, so that a small answer cannot become a large one (a decompression bomb).
 */
export async function decodeBody(body: Buffer, encoding: string, policy: EgressPolicy): Promise<Decoded> {
  const names = encoding
    .toLowerCase()
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '' && name !== 'identity')
  if (names.length === 0 || body.length === 0) return { as: 'decoded', body }
  const decoder = DECODERS[names[0]!]
  if (names.length > 1 || decoder === undefined)
    return refused('truncated', `The answer is encoded as "${encoding}", which cannot be read.`)
  const limit = Math.min(
    policy.maxBodyBytes,
    Math.max(policy.decodeFloorBytes, body.length * policy.maxDecodeRatio),
  )
  try {
    return { as: 'decoded', body: await decoder(body, { maxOutputLength: limit }) }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE')
      return refused(
        'too_large',
        `The answer's body of ${body.length} bytes unpacks to more than ${limit} bytes, which is refused.`,
      )
    return refused('truncated', `The answer's body is not valid ${names[0]}: ${(error as Error).message}.`)
  }
}

function refused(code: 'too_large' | 'truncated', reason: string): Decoded {
  return { as: 'refused', code, reason }
}
