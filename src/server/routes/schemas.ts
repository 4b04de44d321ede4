import { z } from '@hono/zod-openapi'

/** Schemas that several routes answer with. All times are ISO 8601 in UTC. */

export const time = z.iso.datetime()
/** Text of a filter. The database refuses \u0000. */
export function filterText(longest: number) {
  return z
    .string()
    .min(1)
    .max(longest)
    .refine((text) => !text.includes('\0'), 'This text has a character that is never stored.')
}

export const id = z.string().regex(/^[0-9A-Za-z_-]{1,100}$/, 'This is not an id.')
export const idParams = z.strictObject({ id })
/** Names a connection in a filter. */
export const connectionFilter = filterText(100).optional().openapi({ description: 'Name of a connection.' })

export const runState = z.enum([
  'queued',
  'running',
  'waiting',
  'parked',
  'held',
  'undoing',
  'succeeded',
  'undone',
  'dead_lettered',
  'cancelled',
])

export const eventState = z.enum(['dispatched', 'unmatched', 'quarantined', 'discarded'])

/** Bytes: as text where they are UTF-8, else in base64. */
export const bytes = z
  .union([z.object({ text: z.string() }), z.object({ base64: z.string() })])
  .openapi('Bytes', { description: 'Bytes as they came: "text" where they are UTF-8, else "base64".' })

const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

export function asBytes(buffer: Buffer): z.infer<typeof bytes> {
  try {
    return { text: UTF8.decode(buffer) }
  } catch {
    return { base64: buffer.toString('base64') }
  }
}

export const headers = z
  .array(z.tuple([z.string(), z.string()]))
  .openapi({ description: 'Names and values in the order in which they came, repeated ones kept.' })

export function iso(at: Date): string
export function iso(at: Date | null): string | null
export function iso(at: Date | null): string | null {
  return at === null ? null : at.toISOString()
}

/** A value that is JSON of any shape, kept lossless. */
export const anyJson = z.unknown().openapi({
  description: 'JSON as it came. Whole numbers may be beyond 2^53: read them with a lossless parser.',
})
