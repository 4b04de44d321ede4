import { hash } from 'node:crypto'
import { redactJson, type IsSecretKey } from './json.ts'
import { isSecretName, isSecretParameter } from './names.ts'
import { redactShapes } from './shapes.ts'
import { REDACTED, SecretValues } from './values.ts'

/** What a connector and its connection mark as secret, beside what is known everywhere. */
export interface SecretMarks {
  /** Dotted paths in JSON and form bodies. Array positions may be left out: `lines.pin` and `lines.0.pin` mean every line's. */
  readonly secretPaths?: readonly string[]
  readonly secretHeaders?: readonly string[]
  /** Known credential values; those under 6 characters are not looked for. They are found in every common encoding. */
  readonly secretValues?: readonly string[]
}

/** Header names may be in any case; a repeated header is an array or a joined text. */
export type ExchangeHeaders = Readonly<Record<string, string | readonly string[] | undefined>>

/** A request and its answer, as they went over the wire. */
export interface Exchange {
  readonly request: {
    readonly method: string
    readonly url: string
    readonly headers: ExchangeHeaders
    readonly body?: string | Uint8Array
  }
  /** Absent where none came. */
  readonly answer?: {
    readonly status: number
    readonly headers: ExchangeHeaders
    readonly body?: string | Uint8Array
  }
  /** Why no answer came. */
  readonly error?: string
}

/** What is kept of a body. */
export type KeptBody =
  | {
      readonly kind: 'text'
      /** Its beginning, redacted: at most {@link BODY_LIMIT} characters. */
      readonly text: string
      /** Length of the whole body. */
      readonly bytes: number
      readonly cut?: true
      /**
       * SHA-256 of the whole body in hexadecimal. Left out where something was redacted: whoever knows the rest could
       * try all card numbers or codes against it.
       */
      readonly sha256?: string
    }
  /** Files, forms with files, and mails, whose encodings cut secrets into pieces: length and hash only. */
  | { readonly kind: 'binary'; readonly contentType: string; readonly bytes: number; readonly sha256: string }

/** An exchange that can be shown to anybody who may read the ledger. */
export interface RedactedExchange {
  readonly request: {
    readonly method: string
    readonly url: string
    readonly headers: Readonly<Record<string, string>>
    readonly body?: KeptBody
  }
  readonly answer?: {
    readonly status: number
    readonly headers: Readonly<Record<string, string>>
    readonly body?: KeptBody
  }
  readonly error?: string
}

/** Characters of a body that are kept. */
export const BODY_LIMIT = 8_192
const URL_LIMIT = 2_048
const HEADER_LIMIT = 1_024
const HEADERS_LIMIT = 100
const ERROR_LIMIT = 2_000
/** Read beyond the limit, and not kept, so that a secret that lies across it is recognised. */
const MARGIN = 1_024
const NAMES_REMEMBERED = 5_000

/**
 * Takes secrets out of exchanges and texts before they reach any writer. Made once for a connection and used for all
 * of its exchanges: by name (a built-in list and the marks), by value (the connection's own credentials) and by shape
 * (what looks like a key, a token, a card number). When in doubt it redacts.
 */
export class Redactor {
  readonly #values: SecretValues
  readonly #margin: number
  readonly #headers: ReadonlySet<string>
  readonly #paths: ReadonlySet<string>
  /** Last parts of the paths, so that a path is put together only where it may match. */
  readonly #lastParts: ReadonlySet<string>
  /** Whether a name is a secret one: bodies repeat few names. */
  readonly #names = new Map<string, boolean>()

  constructor(marks: SecretMarks = {}) {
    const paths = (marks.secretPaths ?? []).map((path) =>
      path.split('.').filter((part) => !/^(\d+|\*)$/.test(part)),
    )
    this.#values = new SecretValues(marks.secretValues ?? [])
    this.#margin = Math.max(MARGIN, this.#values.longest)
    this.#headers = new Set((marks.secretHeaders ?? []).map((name) => name.toLowerCase()))
    this.#paths = new Set(paths.map((path) => path.join('.')))
    this.#lastParts = new Set(paths.map((path) => path.at(-1) ?? ''))
  }

  exchange({ request, answer, error }: Exchange): RedactedExchange {
    const body = this.body(request.body, request.headers)
    return {
      request: {
        method: request.method,
        url: this.url(request.url),
        headers: this.headers(request.headers),
        ...(body && { body }),
      },
      ...(answer && { answer: this.#answer(answer) }),
      ...(error !== undefined && { error: this.text(error) }),
    }
  }

  #answer(answer: NonNullable<Exchange['answer']>): NonNullable<RedactedExchange['answer']> {
    const body = this.body(answer.body, answer.headers)
    return { status: answer.status, headers: this.headers(answer.headers), ...(body && { body }) }
  }

  /** A text for people, such as an error's: at most 2,000 characters. */
  text(text: string): string {
    const window = ERROR_LIMIT + this.#margin
    const redacted = this.#anywhere(text.slice(0, window))
    return (text.length > window ? redacted.slice(0, -this.#margin) : redacted).slice(0, ERROR_LIMIT)
  }

  url(url: string): string {
    const [beforeFragment, fragment] = splitAt(url, '#')
    const [path, query] = splitAt(beforeFragment, '?')
    const redacted =
      path +
      (query === undefined ? '' : `?${redactPairs(query, isSecretParameter)}`) +
      (fragment === undefined ? '' : `#${redactPairs(fragment, isSecretParameter)}`)
    return cut(this.#anywhere(redacted), URL_LIMIT)
  }

  headers(headers: ExchangeHeaders): Record<string, string> {
    const kept: Record<string, string> = {}
    for (const [name, value] of Object.entries(headers).slice(0, HEADERS_LIMIT)) {
      if (value === undefined) continue
      const lower = name.toLowerCase()
      const isSecret = this.#headers.has(lower) || this.#isSecretName(lower)
      const text = typeof value === 'string' ? value : value.join(', ')
      kept[this.#values.replaceIn(lower)] = isSecret ? REDACTED : cut(this.#anywhere(text), HEADER_LIMIT)
    }
    return kept
  }

  /** `undefined` for an empty body. `headers` are asked for the content type. */
  body(body: string | Uint8Array | undefined, headers: ExchangeHeaders): KeptBody | undefined {
    if (body === undefined || body.length === 0) return undefined
    const bytes = typeof body === 'string' ? Buffer.from(body) : body
    const contentType = contentTypeOf(headers)
    const window = BODY_LIMIT + this.#margin
    const came = textOf(bytes.subarray(0, window), contentType)
    if (came === undefined)
      return { kind: 'binary', contentType, bytes: bytes.length, sha256: hash('sha256', bytes, 'hex') }
    const redacted = this.#bodyText(came, contentType)
    // Of a window that ends within the body, the end may be half a secret.
    const whole = bytes.length > window ? redacted.slice(0, -this.#margin) : redacted
    const text = whole.slice(0, BODY_LIMIT)
    return {
      kind: 'text',
      text,
      bytes: bytes.length,
      ...((text.length < whole.length || bytes.length > window) && { cut: true as const }),
      ...(redacted === came && { sha256: hash('sha256', bytes, 'hex') }),
    }
  }

  #bodyText(text: string, contentType: string): string {
    if (contentType === 'application/x-www-form-urlencoded')
      return this.#anywhere(redactPairs(text, (name) => this.#isSecretField(name)))
    // Also what says nothing, or something else, and is JSON nevertheless.
    return this.#anywhere(redactJson(text, this.#isSecretKey, this.#values))
  }

  #anywhere(text: string): string {
    return redactShapes(this.#values.replaceIn(text))
  }

  #isSecretKey: IsSecretKey = (key, above) => {
    const parent = above.length > 1 ? above[above.length - 2]! : ''
    return (
      (key === 'number' ? isSecretName(key, parent) : this.#isSecretName(key)) ||
      (this.#lastParts.has(key) && this.#paths.has(above.join('.')))
    )
  }

  /** A form's field: `card[number]` is the path card.number. */
  #isSecretField(name: string): boolean {
    const path = name.split(/[[\].]+/).filter((part) => part !== '' && !/^\d+$/.test(part))
    return this.#isSecretKey(path.at(-1) ?? '', path)
  }

  #isSecretName(name: string): boolean {
    const known = this.#names.get(name)
    if (known !== undefined) return known
    const isSecret = isSecretName(name)
    if (this.#names.size < NAMES_REMEMBERED) this.#names.set(name, isSecret)
    return isSecret
  }
}

/** `name=value` pairs between `&`, with the values of secret names replaced. */
function redactPairs(text: string, isSecret: (name: string) => boolean): string {
  return text
    .split('&')
    .map((pair) => {
      const equals = pair.indexOf('=')
      if (equals < 0 || equals === pair.length - 1) return pair
      return isSecret(decoded(pair.slice(0, equals))) ? `${pair.slice(0, equals)}=${REDACTED}` : pair
    })
    .join('&')
}

function decoded(name: string): string {
  if (!/[%+]/.test(name)) return name
  try {
    return decodeURIComponent(name.replaceAll('+', ' '))
  } catch {
    return name
  }
}

function splitAt(text: string, sign: string): [string, string?] {
  const at = text.indexOf(sign)
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)]
}

function cut(text: string, limit: number): string {
  return text.length <= limit ? text : `${text.slice(0, limit)}…`
}

/** Lower case, without parameters; `''` where none is given. */
function contentTypeOf(headers: ExchangeHeaders): string {
  for (const name of Object.keys(headers)) {
    if (name.toLowerCase() !== 'content-type') continue
    const value = headers[name]
    const text = typeof value === 'string' ? value : (value?.[0] ?? '')
    return text.split(';')[0]!.trim().toLowerCase()
  }
  return ''
}

const TEXT_TYPE = /^text\/|[/+](json|xml|javascript|x-www-form-urlencoded|x-ndjson|graphql|yaml)$/

/** The text of a body, or of its beginning; `undefined` where it is none. */
function textOf(bytes: Uint8Array, contentType: string): string | undefined {
  if (/^(multipart|message)\//.test(contentType) || bytes.includes(0)) return undefined
  if (TEXT_TYPE.test(contentType))
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8')
  try {
    // stream: the window may end within a character.
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes, { stream: true })
  } catch {
    return undefined
  }
}
