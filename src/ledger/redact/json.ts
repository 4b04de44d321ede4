import { REDACTED, type SecretValues } from './values.ts'

const QUOTE = 0x22
const BACKSLASH = 0x5c
const OPEN_OBJECT = 0x7b
const CLOSE_OBJECT = 0x7d
const OPEN_ARRAY = 0x5b
const CLOSE_ARRAY = 0x5d
const COMMA = 0x2c
const COLON = 0x3a

/** Decides by a key, the keys above it, and says whether its value is a secret. */
export type IsSecretKey = (key: string, above: readonly string[]) => boolean

/** An open object or array. */
type Open = OpenObject | OpenArray
interface OpenObject {
  readonly kind: 'object'
}
interface OpenArray {
  readonly kind: 'array'
  readonly start: number
  /** What had been written before it, should it have to go as a whole. */
  readonly writtenBefore: string
  readonly keptBefore: number
  /** Its strings in a row: a secret may have been cut into them. */
  pieces: string
}

/**
 * JSON text with the values of secret keys replaced by `"[redacted]"` and everything else as it came, byte for byte:
 * spacing, number formats, repeated keys. It reads text that is cut off or malformed as far as it makes sense, in one
 * pass, and never throws. `null`, booleans and `""` are left, since they are no secret but a fact.
 */
export function redactJson(text: string, isSecretKey: IsSecretKey, values: SecretValues): string {
  return new JsonRedaction(text, isSecretKey, values).run()
}

class JsonRedaction {
  readonly #text: string
  readonly #isSecretKey: IsSecretKey
  readonly #values: SecretValues
  readonly #open: Open[] = []
  /** Keys of the open objects, from the outermost. */
  readonly #keys: string[] = []
  #written = ''
  /** Where what is not yet written begins. */
  #kept = 0
  #at = 0
  #expectsKey = false

  constructor(text: string, isSecretKey: IsSecretKey, values: SecretValues) {
    this.#text = text
    this.#isSecretKey = isSecretKey
    this.#values = values
  }

  run(): string {
    while (this.#at < this.#text.length) this.#step(this.#text.charCodeAt(this.#at))
    return this.#written + this.#text.slice(this.#kept)
  }

  #step(code: number): void {
    switch (code) {
      case QUOTE:
        if (this.#expectsKey) this.#readKey()
        else this.#readString()
        return
      case OPEN_OBJECT:
        this.#open.push({ kind: 'object' })
        this.#keys.push('')
        this.#expectsKey = true
        break
      case OPEN_ARRAY:
        this.#open.push({
          kind: 'array',
          start: this.#at,
          writtenBefore: this.#written,
          keptBefore: this.#kept,
          pieces: '',
        })
        this.#expectsKey = false
        break
      case CLOSE_OBJECT:
      case CLOSE_ARRAY:
        this.#close()
        break
      case COMMA:
        this.#expectsKey = this.#open.at(-1)?.kind === 'object'
        break
      default:
    }
    this.#at++
  }

  #readKey(): void {
    const end = stringEnd(this.#text, this.#at)
    const key = unescape(this.#text, this.#at, end)
    let value = skipSpace(this.#text, end)
    if (this.#text.charCodeAt(value) === COLON) value = skipSpace(this.#text, value + 1)
    this.#keys[this.#keys.length - 1] = key
    this.#expectsKey = false
    this.#at = value
    if (!this.#isSecretKey(key, this.#keys)) return
    const valueEnd = skipValue(this.#text, value)
    if (isNothing(this.#text, value, valueEnd)) return
    this.#redact(value, valueEnd)
  }

  #readString(): void {
    const start = this.#at
    const end = stringEnd(this.#text, start)
    this.#at = end
    if (this.#values.size === 0) return
    const array = this.#open.at(-1)
    const escaped = this.#text.slice(start, end).includes('\\')
    if (array?.kind !== 'array' && !escaped) return
    const value = unescape(this.#text, start, end)
    if (array?.kind === 'array') array.pieces += value
    // Plain text is searched afterwards, all at once.
    if (escaped && this.#values.isIn(value)) this.#redact(start, end)
  }

  #close(): void {
    const closed = this.#open.pop()
    this.#expectsKey = false
    if (closed?.kind === 'object') this.#keys.pop()
    if (closed?.kind !== 'array' || closed.pieces === '' || !this.#values.isIn(closed.pieces)) return
    this.#written = closed.writtenBefore
    this.#kept = closed.keptBefore
    this.#redact(closed.start, this.#at + 1)
    this.#at--
  }

  #redact(start: number, end: number): void {
    this.#written += `${this.#text.slice(this.#kept, start)}"${REDACTED}"`
    this.#kept = end
    this.#at = end
  }
}

/** Index after the closing quote of the string that opens at `start`, or the end of the text. */
function stringEnd(text: string, start: number): number {
  for (let at = text.indexOf('"', start + 1); at >= 0; at = text.indexOf('"', at + 1)) {
    let backslashes = 0
    while (text.charCodeAt(at - 1 - backslashes) === BACKSLASH) backslashes++
    if (backslashes % 2 === 0) return at + 1
  }
  return text.length
}

/** The string between the quotes at `start` and `end - 1`, unescaped where that can be done. */
function unescape(text: string, start: number, end: number): string {
  const raw = text.slice(start + 1, text.charCodeAt(end - 1) === QUOTE && end - 1 > start ? end - 1 : end)
  if (!raw.includes('\\')) return raw
  try {
    return JSON.parse(`"${raw}"`) as string
  } catch {
    return raw
  }
}

function skipSpace(text: string, from: number): number {
  let at = from
  while (at < text.length && text.charCodeAt(at) <= 0x20) at++
  return at
}

function skipValue(text: string, start: number): number {
  const code = text.charCodeAt(start)
  if (code === QUOTE) return stringEnd(text, start)
  if (code === OPEN_OBJECT || code === OPEN_ARRAY) return skipContainer(text, start)
  let at = start
  while (at < text.length && !isDelimiter(text.charCodeAt(at))) at++
  return at
}

function skipContainer(text: string, start: number): number {
  let depth = 0
  for (let at = start; at < text.length;) {
    const code = text.charCodeAt(at)
    if (code === QUOTE) {
      at = stringEnd(text, at)
      continue
    }
    at++
    if (code === OPEN_OBJECT || code === OPEN_ARRAY) depth++
    else if ((code === CLOSE_OBJECT || code === CLOSE_ARRAY) && --depth === 0) return at
  }
  return text.length
}

function isDelimiter(code: number): boolean {
  return code === COMMA || code === CLOSE_OBJECT || code === CLOSE_ARRAY || code <= 0x20
}

/** `null`, `true`, `false` and `""` are no secrets, but facts about one. */
function isNothing(text: string, start: number, end: number): boolean {
  return end <= start || /^(?:""|null|true|false)$/.test(text.slice(start, Math.min(end, start + 6)))
}
