import type { JsonValue } from '../base/index.ts'

/** A form body (WHATWG URL, application/x-www-form-urlencoded) as an object; a repeated field becomes a list. */
export function parseForm(body: Buffer): { [field: string]: JsonValue } {
  const fields: { [field: string]: JsonValue } = Object.create(null) as { [field: string]: JsonValue }
  for (const [name, value] of new URLSearchParams(body.toString('utf8'))) {
    const before = fields[name]
    fields[name] = before === undefined ? value : Array.isArray(before) ? [...before, value] : [before, value]
  }
  return { ...fields }
}
