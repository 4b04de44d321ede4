/** What stands where a secret stood. */
export const REDACTED = '[redacted]'
/** Shorter values would be found by chance in every text. */
const SHORTEST = 6
const BASE64_AROUND = /[A-Za-z0-9+/=_-]/

interface Needle {
  readonly text: string
  /** Base64 and hexadecimal: what adjoins is replaced too, since the parts of a code bleed into each other. */
  readonly encoded: boolean
}

/**
 * Known secrets, found in a text wherever and however they are written: plain, escaped for JSON, XML or a URL, as
 * hexadecimal, and as base64 at each of the three alignments that a longer text may give them.
 */
export class SecretValues {
  readonly #plain: readonly string[]
  readonly #needles: readonly Needle[]
  /** Length of the longest form. */
  readonly longest: number

  constructor(values: readonly string[]) {
    this.#plain = [...new Set(values)].filter((value) => value.length >= SHORTEST)
    const needles = new Map<string, Needle>()
    for (const value of this.#plain)
      for (const needle of formsOf(value)) if (!needles.has(needle.text)) needles.set(needle.text, needle)
    // The longest first, so that no part of one is left over.
    this.#needles = [...needles.values()].sort((a, b) => b.text.length - a.text.length)
    this.longest = this.#needles[0]?.text.length ?? 0
  }

  get size(): number {
    return this.#plain.length
  }

  /** Whether the text, free of any escaping, contains one. */
  isIn(text: string): boolean {
    return this.#plain.some((value) => text.includes(value))
  }

  replaceIn(text: string): string {
    let result = text
    for (const needle of this.#needles) {
      if (!result.includes(needle.text)) continue
      result = needle.encoded ? replaceAround(result, needle.text) : result.replaceAll(needle.text, REDACTED)
    }
    return result
  }
}

function formsOf(value: string): Needle[] {
  const uri = encodeURIComponent(value.replace(/\p{Surrogate}/gu, '\ufffd'))
  // JSON within JSON escapes again.
  const inJson = [escapeJson(value), escapeJson(escapeJson(value)), escapeJson(escapeJson(escapeJson(value)))]
  const plain = [
    value,
    ...inJson,
    ...inJson.map((text) => text.replaceAll('/', '\\/')),
    uri,
    uri.replaceAll(/%[0-9A-F]{2}/g, (code) => code.toLowerCase()),
    uri.replaceAll('%20', '+'),
    new URLSearchParams([['', value]]).toString().slice(1),
    value.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;'),
  ]
  const bytes = Buffer.from(value)
  const encoded = [bytes.toString('hex'), bytes.toString('hex').toUpperCase()]
  for (let shift = 0; shift < 3; shift++) {
    // Of the characters that six bits of this alignment make, those that our bytes determine wholly.
    const from = Math.ceil((8 * shift) / 6)
    const to = Math.floor((8 * (shift + bytes.length)) / 6)
    const shifted = Buffer.concat([Buffer.alloc(shift), bytes])
    encoded.push(shifted.toString('base64').slice(from, to), shifted.toString('base64url').slice(from, to))
  }
  return [
    ...plain.map((text) => ({ text, encoded: false })),
    ...encoded.filter((text) => text.length >= SHORTEST).map((text) => ({ text, encoded: true })),
  ]
}

function escapeJson(text: string): string {
  return JSON.stringify(text).slice(1, -1)
}

function replaceAround(text: string, needle: string): string {
  let result = ''
  let from = 0
  for (let at = text.indexOf(needle); at >= 0; at = text.indexOf(needle, from)) {
    let start = at
    while (start > from && BASE64_AROUND.test(text[start - 1]!)) start--
    let end = at + needle.length
    while (end < text.length && BASE64_AROUND.test(text[end]!)) end++
    result += text.slice(from, start) + REDACTED
    from = end
  }
  return result + text.slice(from)
}
