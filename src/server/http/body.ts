import type { IncomingMessage } from 'node:http'
import { HttpError } from './problem.ts'

/** Most bytes of a request's body, on every route: 1 MiB, as for webhooks. */
export const BODY_LIMIT = 1024 * 1024

/** Reads a body to its last byte. Throws 413 where it is longer than `limit`; Node's own timer ends a slow one. */
export async function readBody(request: IncomingMessage, limit: number = BODY_LIMIT): Promise<Buffer> {
  if (Number(request.headers['content-length'] ?? 0) > limit) throw tooLarge(limit)
  const chunks: Buffer[] = []
  let bytes = 0
  // Not `for await`: leaving that early destroys the request, and with it the connection that our answer needs.
  await new Promise<void>((resolve, reject) => {
    request.on('data', (chunk: Buffer) => {
      bytes += chunk.length
      if (bytes <= limit) chunks.push(chunk)
      else {
        chunks.length = 0
        reject(tooLarge(limit))
      }
    })
    request.on('end', resolve)
    request.on('error', () => reject(aborted()))
    request.on('close', () => reject(aborted()))
  })
  return Buffer.concat(chunks)
}

/** Lower case, without parameters; `''` where there is none. */
export function contentTypeOf(request: Pick<IncomingMessage, 'headers'>): string {
  return (request.headers['content-type'] ?? '').split(';', 1)[0]!.trim().toLowerCase()
}

/** Throws 415 where the body is compressed: what is small on the wire must not become large here. */
export function refuseCompressed(request: Pick<IncomingMessage, 'headers'>): void {
  const coding = request.headers['content-encoding']
  if (coding !== undefined && coding.trim().toLowerCase() !== 'identity')
    throw new HttpError(415, 'content_encoding_unsupported', 'Send the body without compression.', {
      headers: { 'accept-encoding': 'identity' },
    })
}

function tooLarge(limit: number): HttpError {
  return new HttpError(413, 'body_too_large', `At most ${limit} bytes are read.`, {
    headers: { connection: 'close' },
  })
}

function aborted(): HttpError {
  return new HttpError(400, 'upload_aborted', 'The sender went away in the middle of the body.')
}
