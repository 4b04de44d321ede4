import type { IncomingMessage } from 'node:http'
import type { Clock } from '../base/index.ts'
import { essenceOf, headerOf, type RawHeaders } from './signed-content.ts'

/** Limits of one request. Each has its answer. */
export interface ReceiveLimits {
  /** Bytes of the body; more is 413. Default 1 MiB. */
  readonly maxBodyBytes: number
  /** Header fields; more is 431. Default 100. */
  readonly maxHeaders: number
  /** Bytes of all names and values together; more is 431. Default 16 KiB, which is Node's own limit too. */
  readonly maxHeaderBytes: number
  /** From the first header to the last byte of the body; longer is 408. Default 10 s. */
  readonly receiveTimeoutMs: number
}

export const RECEIVE_LIMITS: ReceiveLimits = {
  maxBodyBytes: 1024 * 1024,
  maxHeaders: 100,
  maxHeaderBytes: 16 * 1024,
  receiveTimeoutMs: 10_000,
}

/** Why a request was not taken, by what answers it. */
export interface Refusal {
  readonly ok: false
  /** Absent where nobody is there to answer. */
  readonly status?: number
  readonly code: string
  readonly reason: string
  /** Headers of the answer. */
  readonly answer?: Readonly<Record<string, string>>
  /** As much of the body as had come. */
  readonly body?: Buffer
  readonly cause?: unknown
}

export interface Head {
  readonly ok: true
  readonly headers: RawHeaders
  /** Lower case, without parameters. */
  readonly contentType: string
}

/**
 * What can be judged before the body is read. Compressed bodies are refused: no known provider sends one, the
 * published signatures do not say whether they cover the bytes before or after, and a bomb then has no way in.
 */
export function judgeHead(
  message: Pick<IncomingMessage, 'method' | 'rawHeaders'>,
  contentTypes: readonly string[],
  limits: ReceiveLimits,
): Head | Refusal {
  const headers = pairsOf(message.rawHeaders)
  if (message.method !== 'POST')
    return refusal(405, 'method_not_allowed', 'Webhooks are sent with POST.', { allow: 'POST' })
  if (headers.length > limits.maxHeaders || sizeOf(message.rawHeaders) > limits.maxHeaderBytes)
    return refusal(
      431,
      'headers_too_large',
      `At most ${limits.maxHeaders} header fields of ${limits.maxHeaderBytes} bytes together are read.`,
    )
  const coding = headerOf(headers, 'content-encoding')
  const transfer = headerOf(headers, 'transfer-encoding')
  if (!isOneOf(coding, 'identity') || !isOneOf(transfer, 'chunked'))
    return refusal(415, 'content_encoding_unsupported', 'Send the body without compression.', {
      'accept-encoding': 'identity',
    })
  const contentType = headerOf(headers, 'content-type')
  const essence = typeof contentType === 'string' ? essenceOf(contentType) : ''
  if (!contentTypes.includes(essence))
    return refusal(
      415,
      'content_type_unsupported',
      `This endpoint reads ${contentTypes.join(' and ')}, not "${essence.slice(0, 100)}".`,
      { accept: contentTypes.join(', ') },
    )
  const length = headerOf(headers, 'content-length')
  if (typeof length === 'string' && Number(length) > limits.maxBodyBytes) return tooLarge(limits)
  return { ok: true, headers, contentType: essence }
}

/** How many bytes of bodies may be held at once, over all requests. */
export interface HeldBytes {
  /** Whether `bytes` more may be held; they are counted then. */
  take(bytes: number): boolean
  /** Where others need the room, it is told, and what was read is let go. */
  whenYielded(giveWay: (refused: Refusal) => void): void
}

/** Reads the body to its last byte, within size and time. */
export function readBody(
  message: IncomingMessage,
  limits: ReceiveLimits,
  held: HeldBytes,
  clock: Clock,
): Promise<{ readonly ok: true; readonly body: Buffer } | Refusal> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = []
    let bytes = 0
    let cancel = (): void => {}
    const finish = (refused?: Refusal): void => {
      held.whenYielded(ignore)
      cancel()
      message.off('data', onData).off('end', onEnd).off('close', onAbort).off('error', onAbort)
      message.on('error', ignore)
      const body = chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks)
      resolve(refused === undefined ? { ok: true, body } : { ...refused, body })
    }
    const onData = (chunk: Buffer): void => {
      bytes += chunk.length
      if (bytes > limits.maxBodyBytes) finish(tooLarge(limits))
      else if (!held.take(chunk.length)) finish(overloaded())
      else chunks.push(chunk)
    }
    const onEnd = (): void => finish()
    const onAbort = (): void =>
      finish({ ok: false, code: 'upload_aborted', reason: 'The sender went away in the middle of the body.' })
    held.whenYielded(finish)
    // Gone while its endpoint was looked up: then no event comes any more.
    if (message.destroyed && !message.complete) return onAbort()
    cancel = clock.after(limits.receiveTimeoutMs, () =>
      finish(
        refusal(
          408,
          'receive_timeout',
          `The body was not complete after ${limits.receiveTimeoutMs / 1000} s.`,
        ),
      ),
    )
    message.on('data', onData).on('end', onEnd).on('close', onAbort).on('error', onAbort)
  })
}

export function refusal(
  status: number,
  code: string,
  reason: string,
  answer?: Readonly<Record<string, string>>,
): Refusal {
  return { ok: false, status, code, reason, ...(answer === undefined ? {} : { answer }) }
}

export function overloaded(): Refusal {
  return refusal(503, 'overloaded', 'There is no room: too much is under way at once.')
}

function tooLarge(limits: ReceiveLimits): Refusal {
  return refusal(413, 'body_too_large', `At most ${limits.maxBodyBytes} bytes are read.`)
}

function isOneOf(header: string | null | undefined, allowed: string): boolean {
  return header === undefined || header?.trim().toLowerCase() === allowed
}

export function pairsOf(rawHeaders: readonly string[]): [string, string][] {
  const pairs: [string, string][] = []
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) pairs.push([rawHeaders[i]!, rawHeaders[i + 1]!])
  return pairs
}

function sizeOf(rawHeaders: readonly string[]): number {
  let bytes = 0
  for (const text of rawHeaders) bytes += text.length
  return bytes
}

function ignore(): void {}
