import { createHash } from 'node:crypto'

const LONGEST = 256

/**
 * A field's value as it is indexed and compared: its text, or a digest where the text is long or has characters
 * that the database's text type refuses. `undefined` for what cannot be matched on (objects, null).
 */
export function fieldValue(value: unknown): string | undefined {
  if (
    typeof value !== 'string' &&
    typeof value !== 'number' &&
    typeof value !== 'bigint' &&
    typeof value !== 'boolean'
  )
    return undefined
  return indexable(String(value))
}

/** Text as PostgreSQL can hold it: \u0000 is written out, and lone surrogates are replaced. */
export function storable(text: string): string {
  return text.replaceAll('\u0000', '\\u0000').toWellFormed()
}

/** Text that may stand in an indexed text column: short, and without \u0000 or lone surrogates. */
export function indexable(text: string): string {
  // oxlint-disable-next-line no-control-regex -- PostgreSQL's text type refuses exactly this character
  return text.length <= LONGEST && text.isWellFormed() && !/\u0000/.test(text)
    ? text
    : `sha256:${createHash('sha256').update(JSON.stringify(text)).digest('hex')}`
}
