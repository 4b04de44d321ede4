import type { IncomingHttpHeaders } from 'node:http'
import { encodeJson, escapePointer, parseJson, type JsonValue } from '../../base/index.ts'
import { HttpError, type InputMistake } from './problem.ts'

/**
 * CloudEvents 1.0.2 over HTTP, in JSON: structured, batch and binary mode.
 * https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md and
 * https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md
 */
export const STRUCTURED = 'application/cloudevents+json'
export const BATCH = 'application/cloudevents-batch+json'
/** Structured without its own content type; with `ce-` headers, the data of binary mode. */
export const PLAIN = 'application/json'

/** Most events in one batch: as many as a delivery may carry. */
export const BATCH_LIMIT = 1000

/** CloudEvents as they were sent, as one JSON document. */
export interface SentEvents {
  readonly contentType: typeof STRUCTURED | typeof BATCH
  /** The document; the very bytes that came, but for binary mode. */
  readonly body: Buffer
  readonly parsed: JsonValue
}

/** Reads a request's body as CloudEvents, without judging them. Throws 400 where it is no JSON. */
export function readCloudEvents(
  contentType: string,
  headers: IncomingHttpHeaders,
  bytes: Buffer,
): SentEvents {
  if (contentType === PLAIN && headers['ce-specversion'] !== undefined) return fromBinary(headers, bytes)
  const parsed = parseJson(bytes)
  if (Array.isArray(parsed) && contentType !== STRUCTURED) {
    if (parsed.length > BATCH_LIMIT)
      throw new HttpError(413, 'batch_too_large', `A batch has at most ${BATCH_LIMIT} events; send several.`)
    return { contentType: BATCH, body: bytes, parsed }
  }
  if (contentType === BATCH)
    throw new HttpError(422, 'cloud_event_invalid', 'A batch is a JSON array of CloudEvents.', {
      errors: [{ at: '', detail: 'Not an array.' }],
    })
  return { contentType: STRUCTURED, body: bytes, parsed }
}

/** Attributes stand in `ce-` headers, percent-encoded; the body is the data. Put together as if structured. */
function fromBinary(headers: IncomingHttpHeaders, bytes: Buffer): SentEvents {
  const attributes: Record<string, string> = {}
  for (const [name, value] of Object.entries(headers))
    if (/^ce-[a-z0-9]+$/.test(name) && typeof value === 'string')
      attributes[name.slice(3)] = decodeHeader(name, value)
  const members = { ...attributes, datacontenttype: PLAIN }
  parseJson(bytes)
  // The data goes in as it came: its text is JSON, so the whole is.
  const text = `${encodeJson(members).slice(0, -1)},"data":${bytes.toString('utf8').replace(/^\ufeff/, '')}}`
  return { contentType: STRUCTURED, body: Buffer.from(text), parsed: parseJson(text) }
}

function decodeHeader(name: string, value: string): string {
  try {
    return decodeURIComponent(value.replace(/^"(.*)"$/, '$1'))
  } catch {
    throw new HttpError(400, 'parameter_invalid', `The header ${name} is not percent-encoded text.`)
  }
}

const REQUIRED = ['id', 'source', 'type'] as const
/** RFC 3339, 5.6. */
const TIMESTAMP = /^\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})$/

/** What keeps a value from being a CloudEvent 1.0; empty for a good one. `at` is where it stands in the body. */
export function cloudEventMistakes(value: JsonValue, at: string): InputMistake[] {
  if (value === null || typeof value !== 'object' || Array.isArray(value))
    return [{ at, detail: 'A CloudEvent is a JSON object.' }]
  const attributes = value as { [name: string]: JsonValue }
  const mistakes: InputMistake[] = []
  const say = (name: string, detail: string): unknown =>
    mistakes.push({ at: `${at}/${escapePointer(name)}`, detail })
  if (attributes['specversion'] !== '1.0') say('specversion', 'Must be "1.0".')
  for (const name of REQUIRED)
    if (typeof attributes[name] !== 'string' || attributes[name] === '')
      say(name, 'Is required, and must be text that is not empty.')
  const time = attributes['time']
  if (
    time !== undefined &&
    (typeof time !== 'string' || !TIMESTAMP.test(time) || Number.isNaN(Date.parse(time)))
  )
    say('time', 'Must be a timestamp with its zone, such as 2026-11-22T09:00:00Z (RFC 3339).')
  return mistakes
}
