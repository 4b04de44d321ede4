import { PermanentError } from './errors.ts'
import type { JsonValue } from './json.ts'

/** Fields that a form body may have. Providers send a few dozen; sorting very many would cost a forger nothing and us much. */
export const FORM_FIELD_LIMIT = 1000

export const FORM_CONTENT_TYPE = 'application/x-www-form-urlencoded'

export type FormErrorCode = 'form_malformed' | 'form_proto_key' | 'form_too_many_fields'

/** A form body that cannot be read without guessing, and where (`path`, a JSON Pointer). */
export class FormError extends PermanentError {
  readonly path: string
  constructor(code: FormErrorCode, path: string, message: string, cause?: unknown) {
    super(code, message, { cause })
    this.path = path
  }
}

const UTF8 = new TextDecoder('utf-8', { fatal: true })

/**
 * Reads an `application/x-www-form-urlencoded` body (WHATWG URL, 5.1) as an object of its fields; a field that
 * stands there several times becomes an array in that order. Nothing is replaced or guessed: a broken escape,
 * bytes that are no UTF-8 and a field `__proto__` throw a {@link FormError}.
 */
export function parseForm(body: Uint8Array): { [field: string]: JsonValue } {
  const fields: { [field: string]: JsonValue } = {}
  for (const pair of splitPairs(textOf(body))) {
    const equals = pair.indexOf('=')
    const name = unescape(equals === -1 ? pair : pair.slice(0, equals))
    const value = equals === -1 ? '' : unescape(pair.slice(equals + 1))
    if (name === '__proto__')
      throw new FormError(
        'form_proto_key',
        '/__proto__',
        'The form has a field "__proto__", which no honest sender needs.',
      )
    if (!Object.hasOwn(fields, name)) fields[name] = value
    else if (Array.isArray(fields[name])) fields[name].push(value)
    else fields[name] = [fields[name]!, value]
  }
  return fields
}

/**
 * The fields as Twilio signs them: sorted by name, each name followed by its value, without separators; the values
 * of a repeated field sorted and each once (twilio 6.2.0, lib/webhooks/webhooks.js, read 2026-11-22). Lenient, as
 * the sender's own reading is: what is read from the body afterwards is not. `undefined` for too many fields.
 */
export function sortedFormText(body: Buffer): string | undefined {
  const text = body.toString('utf8')
  if (countPairs(text) > FORM_FIELD_LIMIT) return undefined
  const values = new Map<string, Set<string>>()
  for (const [name, value] of new URLSearchParams(text)) {
    const known = values.get(name)
    if (known) known.add(value)
    else values.set(name, new Set([value]))
  }
  let sorted = ''
  for (const name of [...values.keys()].sort()) {
    for (const value of [...values.get(name)!].sort()) sorted += name + value
  }
  return sorted
}

function textOf(body: Uint8Array): string {
  try {
    return UTF8.decode(body)
  } catch (cause) {
    throw new FormError('form_malformed', '', 'The form body is not UTF-8 text.', cause)
  }
}

function splitPairs(text: string): string[] {
  if (countPairs(text) > FORM_FIELD_LIMIT)
    throw new FormError('form_too_many_fields', '', `The form has more than ${FORM_FIELD_LIMIT} fields.`)
  return text.split('&').filter((pair) => pair !== '')
}

function countPairs(text: string): number {
  let count = 1
  for (let at = text.indexOf('&'); at !== -1; at = text.indexOf('&', at + 1)) count++
  return count
}

function unescape(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '))
  } catch (cause) {
    throw new FormError(
      'form_malformed',
      '',
      `The form has a broken escape in "${text.slice(0, 100)}".`,
      cause,
    )
  }
}
