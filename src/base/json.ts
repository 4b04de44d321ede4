import { LosslessNumber, parse as parseLossless } from 'lossless-json'
import { PermanentError } from './errors.ts'

/**
 * Lossless JSON. Whole numbers beyond 2^53 become `bigint`, decimals that a double cannot hold become
 * {@link LosslessNumber} (its `toString()` is the text as it came); everything else is what `JSON.parse` gives.
 * What cannot be kept unambiguously is refused with a reason and a JSON Pointer (RFC 6901): duplicate keys,
 * a `__proto__` key, nesting beyond the limit, bytes that are not UTF-8.
 */
export type JsonValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | LosslessNumber
  | JsonValue[]
  | { [key: string]: JsonValue }

export { LosslessNumber }

/** Nesting that {@link parseJson} accepts. */
export const JSON_DEPTH_LIMIT = 64

/** JSON that cannot be read, or a value that cannot be written, and where in it (`path`, a JSON Pointer). */
export class JsonError extends PermanentError {
  readonly path: string
  constructor(code: JsonErrorCode, path: string, message: string, cause?: unknown) {
    super(code, message, { cause })
    this.path = path
  }
}

export type JsonErrorCode =
  | 'json_malformed'
  | 'json_not_utf8'
  | 'json_too_deep'
  | 'json_duplicate_key'
  | 'json_proto_key'
  | 'json_unserializable'

const UTF8 = new TextDecoder('utf-8', { fatal: true })
/** A run of digits or an exponent that a double might not hold exactly; also matches some strings, which only costs time. */
const NEEDS_LOSSLESS = /[\d.]{16}|\d[eE][+-]?\d/

/** Reads JSON text or UTF-8 bytes without losing anything. Throws {@link JsonError}. */
export function parseJson(source: string | Uint8Array): JsonValue {
  const text = typeof source === 'string' ? source : decodeUtf8(source)
  let value: JsonValue
  try {
    value = NEEDS_LOSSLESS.test(text) ? parseExact(text) : (JSON.parse(text) as JsonValue)
  } catch (cause) {
    if (cause instanceof JsonError) throw cause
    if (cause instanceof RangeError) throw tooDeep('')
    throw new JsonError(
      'json_malformed',
      '',
      `The body is not valid JSON: ${(cause as Error).message}`,
      cause,
    )
  }
  let keys: number
  try {
    keys = countKeys(value, 0)
  } catch (error) {
    throw refused(value, error)
  }
  if (keys !== countColons(text)) throw duplicateKey(text)
  return value
}

function decodeUtf8(bytes: Uint8Array): string {
  try {
    return UTF8.decode(bytes)
  } catch (cause) {
    throw new JsonError(
      'json_not_utf8',
      '',
      'The body is not UTF-8 text, so it cannot be JSON (RFC 8259, 8.1).',
      cause,
    )
  }
}

function parseExact(text: string): JsonValue {
  JSON.parse(text) // Its grammar is the standard's; lossless-json is laxer in places.
  return parseLossless(text, undefined, {
    parseNumber: exactNumber,
    // A repeated key is found by counting, with the same answer as on the fast path.
    onDuplicateKey: ({ newValue }) => newValue,
  }) as JsonValue
}

function exactNumber(text: string): number | bigint | LosslessNumber {
  const number = Number(text)
  if (/^-?\d+$/.test(text)) return Number.isSafeInteger(number) ? number : BigInt(text)
  return sameDecimal(text, number) ? number : new LosslessNumber(text)
}

/** Whether the shortest text of `number` denotes the same decimal as `text`. */
function sameDecimal(text: string, number: number): boolean {
  return Number.isFinite(number) && decimalParts(text) === decimalParts(String(number))
}

/** A decimal as sign, significant digits and power of ten, so that `1.50`, `15e-1` and `1.5` compare equal. */
function decimalParts(text: string): string {
  const match = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(text)
  if (!match) return text
  const [, sign, whole = '', fraction = '', exponent = '0'] = match
  const digits = (whole + fraction).replace(/^0+/, '')
  const significant = digits.replace(/0+$/, '')
  if (significant === '') return '0'
  return `${sign}${significant}e${Number(exponent) - fraction.length + (digits.length - significant.length)}`
}

/** Own keys in the whole value; refuses what is too deep and `__proto__`. */
function countKeys(value: JsonValue, depth: number): number {
  if (value === null || typeof value !== 'object' || value instanceof LosslessNumber) return 0
  if (depth >= JSON_DEPTH_LIMIT) throw new TooDeep()
  let count = 0
  if (Array.isArray(value)) {
    for (const item of value) if (typeof item === 'object') count += countKeys(item, depth + 1)
    return count
  }
  if (Object.getPrototypeOf(value) !== Object.prototype || Object.hasOwn(value, '__proto__'))
    throw new ProtoKey()
  for (const key in value) {
    const child = value[key]!
    count += typeof child === 'object' ? 1 + countKeys(child, depth + 1) : 1
  }
  return count
}

class TooDeep extends Error {}
class ProtoKey extends Error {}

/** Colons outside strings: as many as there are keys written in the text, repeated ones included. */
function countColons(text: string): number {
  let count = 0
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code === 0x3a) count++
    else if (code === 0x22) i = endOfString(text, i)
  }
  return count
}

/** Where the string that begins at `start` ends: the next quote before which an even number of backslashes stands. */
function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); ; end = text.indexOf('"', end + 1)) {
    let backslashes = 0
    while (text.charCodeAt(end - 1 - backslashes) === 0x5c) backslashes++
    if (backslashes % 2 === 0) return end
  }
}

/** Where in the value the key is that cannot be kept, for the reason; looked for only where there is one. */
function pathOf(
  value: JsonValue,
  wanted: (value: object, depth: number) => boolean,
  depth = 0,
): string | undefined {
  if (value === null || typeof value !== 'object' || value instanceof LosslessNumber) return undefined
  if (wanted(value, depth)) return ''
  for (const [key, child] of Object.entries(value)) {
    const found = pathOf(child, wanted, depth + 1)
    if (found !== undefined) return `/${escapePointer(key)}${found}`
  }
  return undefined
}

function refused(value: JsonValue, error: unknown): JsonError {
  if (error instanceof TooDeep) return tooDeep('')
  const path = pathOf(
    value,
    (found) =>
      !Array.isArray(found) &&
      (Object.getPrototypeOf(found) !== Object.prototype || Object.hasOwn(found, '__proto__')),
  )
  return protoKey(path ?? '')
}

function tooDeep(path: string): JsonError {
  return new JsonError('json_too_deep', path, `The JSON is nested more than ${JSON_DEPTH_LIMIT} levels deep.`)
}

function protoKey(path: string): JsonError {
  return new JsonError(
    'json_proto_key',
    `${path}/__proto__`,
    'The JSON has a key "__proto__", which no honest sender needs.',
  )
}

function duplicateKey(text: string): JsonError {
  const name = /duplicate key '(.*?)'/i.exec(lossLessComplaint(text))?.[1]
  return new JsonError(
    'json_duplicate_key',
    name === undefined ? '' : `/${escapePointer(name)}`,
    `The JSON has the same key twice in one object${name === undefined ? '' : ` ("${name}")`}; which of the values is meant cannot be known (RFC 8259, 4).`,
  )
}

function lossLessComplaint(text: string): string {
  try {
    parseLossless(text)
    return ''
  } catch (error) {
    return (error as Error).message
  }
}

/** One step of a JSON Pointer. */
export function escapePointer(key: string): string {
  return key.replaceAll('~', '~0').replaceAll('/', '~1')
}

/** The value at a JSON Pointer (RFC 6901), or `undefined` where there is none. `''` is the value itself. */
export function atPointer(value: JsonValue, pointer: string): JsonValue | undefined {
  if (pointer === '') return value
  let here: JsonValue | undefined = value
  for (const part of pointer.slice(1).split('/')) {
    if (here === null || typeof here !== 'object' || !Object.hasOwn(here, unescapePointer(part)))
      return undefined
    here = (here as { [key: string]: JsonValue })[unescapePointer(part)]
  }
  return here
}

function unescapePointer(part: string): string {
  return part.includes('~') ? part.replaceAll('~1', '/').replaceAll('~0', '~') : part
}

/** The value at a dotted path such as `data.customer`, or `undefined`. Array positions are numbers: `lines.0.id`. */
export function atPath(value: unknown, path: string): unknown {
  let here: unknown = value
  for (const part of path.split('.')) {
    if (here === null || typeof here !== 'object' || !Object.hasOwn(here, part)) return undefined
    here = (here as Record<string, unknown>)[part]
  }
  return here
}

/** The text that a field of an object holds; `undefined` where there is none, or an empty one. */
export function textAt(value: unknown, name: string): string | undefined {
  const found =
    value !== null && typeof value === 'object' && Object.hasOwn(value, name)
      ? (value as Readonly<Record<string, unknown>>)[name]
      : undefined
  return typeof found === 'string' && found !== '' ? found : undefined
}

/**
 * Writes a value as JSON such that {@link parseJson} gives it back: `bigint` and {@link LosslessNumber} as bare
 * digits. Keys whose value is `undefined` are left out, `undefined` itself is written as `null`. Everything that
 * JSON would change or drop in silence (Date, Map, class instances, functions, NaN, cycles) is refused with its
 * path, since a flow that resumes would see something else than it had.
 */
export function encodeJson(value: unknown): string {
  return encodeAt(value, '', 0)
}

function encodeAt(value: unknown, path: string, depth: number): string {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return JSON.stringify(value)
    case 'bigint':
      return value.toString()
    case 'undefined':
      return 'null'
    case 'number':
      if (Number.isFinite(value)) return encodeNumber(value)
      throw unserializable(path, String(value), 'write null or text instead')
    case 'object':
      break
    default:
      throw unserializable(path, `a ${typeof value}`, 'return plain data')
  }
  if (value === null) return 'null'
  if (value instanceof LosslessNumber) return value.toString()
  if (depth >= JSON_DEPTH_LIMIT)
    throw unserializable(
      path,
      `something nested over ${JSON_DEPTH_LIMIT} levels, or a cycle`,
      'return plain, flatter data',
    )
  if (Array.isArray(value))
    return `[${Array.from(value, (item, i) => encodeAt(item, `${path}/${i}`, depth + 1)).join(',')}]`
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype !== Object.prototype && prototype !== null)
    throw unserializable(
      path,
      `a ${value.constructor?.name ?? 'class instance'}`,
      value instanceof Date ? 'use its toISOString()' : 'return plain data',
    )
  const parts: string[] = []
  for (const [key, child] of Object.entries(value)) {
    if (key === '__proto__') throw unserializable(path, 'an object with a key "__proto__"', 'leave it out')
    if (child !== undefined)
      parts.push(`${JSON.stringify(key)}:${encodeAt(child, `${path}/${escapePointer(key)}`, depth + 1)}`)
  }
  return `{${parts.join(',')}}`
}

/** Whole numbers beyond 2^53 keep an exponent: as bare digits they would come back as a bigint. */
function encodeNumber(value: number): string {
  if (Object.is(value, -0)) return '-0'
  return Number.isInteger(value) && !Number.isSafeInteger(value) ? value.toExponential() : String(value)
}

function unserializable(path: string, what: string, instead: string): JsonError {
  return new JsonError(
    'json_unserializable',
    path,
    `${path === '' ? 'The value' : `The value at ${path}`} is ${what}, which cannot be kept in the journal: ${instead}.`,
  )
}
