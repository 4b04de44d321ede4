import { LosslessNumber } from '../base/index.ts'

/** Nesting beyond which {@link canonicalJson} writes a note instead of the value. */
const DEPTH_LIMIT = 64
/** Not writable as UTF-8: a surrogate without its other half. */
const LONE_SURROGATE = /\p{Surrogate}/gu

/**
 * JSON in the one form that equal values share (JSON Canonicalization Scheme, RFC 8785): keys sorted by UTF-16
 * code units, no space, numbers and strings as ECMAScript writes them.
 *
 * Never throws, since an entry that cannot be written would undo the change of state beside it. What the standard
 * refuses is replaced: whole numbers beyond 2^53 and exact decimals become strings (RFC 8785, appendix D), NaN and
 * infinities null, half surrogate pairs U+FFFD, a cycle or nesting over 64 levels a note in brackets.
 */
export function canonicalJson(value: unknown): string {
  return write(value, [])
}

function write(value: unknown, above: readonly object[]): string {
  switch (typeof value) {
    case 'string':
      return writeString(value)
    case 'number':
      return Number.isFinite(value) ? String(value) : 'null'
    case 'boolean':
      return value ? 'true' : 'false'
    case 'bigint':
      return `"${value}"`
    case 'object':
      return value === null ? 'null' : writeObject(value, above)
    default:
      return 'null'
  }
}

/** A string as RFC 8785, 3.2.2.2 writes it. */
export function writeString(text: string): string {
  const written = JSON.stringify(text)
  // JSON.stringify writes a lone surrogate as \udXXX, and nothing else so unless the text itself has a backslash.
  return written.includes('\\ud') ? JSON.stringify(text.replace(LONE_SURROGATE, '\ufffd')) : written
}

function writeObject(value: object, above: readonly object[]): string {
  if (value instanceof LosslessNumber) return writeString(value.toString())
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? 'null' : writeString(value.toISOString())
  if (above.includes(value)) return '"[cycle]"'
  if (above.length >= DEPTH_LIMIT) return '"[nested too deep]"'
  const within = [...above, value]
  return Array.isArray(value) ? writeArray(value, within) : writeMembers(value, within)
}

function writeArray(items: readonly unknown[], above: readonly object[]): string {
  let text = '['
  for (let i = 0; i < items.length; i++) text += (i === 0 ? '' : ',') + write(items[i], above)
  return `${text}]`
}

function writeMembers(value: object, above: readonly object[]): string {
  let text = '{'
  for (const key of Object.keys(value).sort()) {
    const member = (value as Record<string, unknown>)[key]
    if (member === undefined || typeof member === 'function' || typeof member === 'symbol') continue
    text += `${text === '{' ? '' : ','}${writeString(key)}:${write(member, above)}`
  }
  return `${text}}`
}
