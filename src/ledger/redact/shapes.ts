import { isSecretName } from './names.ts'
import { REDACTED } from './values.ts'

/**
 * Secrets that nobody has marked, told by how they look: in error texts, in text bodies, in strings of JSON. Each
 * pattern stands behind a cheap test, since most texts have none of them.
 */
export function redactShapes(text: string): string {
  let result = text
  if (SCHEME_TEST.test(result)) result = result.replace(SCHEME, redactScheme)
  if (result.includes('@') && ADDRESS_TEST.test(result)) result = result.replace(USER_INFO, `$1${REDACTED}@`)
  if (KEY_TEST.test(result)) for (const pattern of KEYS) result = result.replace(pattern, REDACTED)
  if (TELLING.test(result)) result = redactAssigned(result)
  if (CARD_TEST.test(result)) result = result.replace(CARD, redactCard)
  return result
}

/** `Bearer …` and `Basic …` (RFC 6750, RFC 7617), but not where these are words of a sentence. */
const SCHEME_TEST = /bearer|basic/i
const SCHEME = /\b(Bearer|Basic)(\s+)([A-Za-z0-9._~+/-]{8,}=*)/gi

function redactScheme(whole: string, scheme: string, space: string, value: string): string {
  const isWord =
    scheme.toLowerCase() === 'basic'
      ? !Buffer.from(value, 'base64').includes(':') // It stands for `user:password`.
      : /^[A-Za-z]+\.?$/.test(value)
  return isWord ? whole : `${scheme}${space}${REDACTED}`
}

/** `https://user:password@host`, also with the slashes escaped as some JSON has them. */
const ADDRESS_TEST = /:\\?\/\\?\//
const USER_INFO = /(\b[a-z][a-z0-9+.-]*:(?:\\?\/){2})[^\s/?#@"'<>\\]+@/gi

/**
 * Keys that can be told by their form: our own API tokens, Stripe, Standard Webhooks, GitHub, Slack, AWS, JSON Web
 * Tokens, PEM.
 */
const KEY_TEST = /trs_|[rs]k_(?:live|test)_|whsec_|_secret_|gh[pousr]_|xox[a-z]-|AKIA|eyJ|-----BEGIN/
const KEYS = [
  /\btrs_[A-Za-z0-9_-]{43,49}/g,
  /\b[rs]k_(?:live|test)_[A-Za-z0-9]{8,}/g,
  /\bwhsec_[A-Za-z0-9+/=_-]{8,}/g,
  /\b\w+_secret_[A-Za-z0-9]{8,}/g,
  /\bgh[pousr]_[A-Za-z0-9]{20,}/g,
  /\bxox[a-z]-[A-Za-z0-9-]{10,}/g,
  /\bAKIA[0-9A-Z]{16}\b/g,
  /\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?/g,
  /-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)/g,
]

/** A word that stands in the name of a secret; whether it is one, {@link isSecretName} says of the whole name. */
const TELLING =
  /token|secret|pass|pwd|credential|authorization|(?:api|access|private|signing|encryption|master|shared|subscription|auth)[_-]?key|(?:card|account|routing)[_-]?number|security[_-]?code|code[_-]?verifier|session[_-]?id|cookie|cvc|cvv|iban|jwt|otp|ssn/i
const NAME_CHARACTER = /[\w.-]/

/**
 * `password=…`, `"api_key": "…"` within a string, `<token>…`: a telling name, a sign, and a value up to the next
 * delimiter. The word is searched and the name read around it, which is far cheaper than one pattern for it all.
 */
function redactAssigned(text: string): string {
  const assigned = /(\\*["']?\s*[=:>]\s*\\*["']?)([^\s"'&,;<>()[\]{}\\]+)/y
  let result = ''
  let from = 0
  for (const { index, 0: word } of text.matchAll(new RegExp(TELLING, 'gi'))) {
    if (index < from) continue
    let start = index
    while (start > from && NAME_CHARACTER.test(text[start - 1]!)) start--
    let end = index + word.length
    while (end < text.length && NAME_CHARACTER.test(text[end]!)) end++
    assigned.lastIndex = end
    const found = assigned.exec(text)
    if (!found || /^(?:null|true|false)$/.test(found[2]!) || !isSecretName(text.slice(start, end))) continue
    result += text.slice(from, end) + found[1] + REDACTED
    from = assigned.lastIndex
  }
  return result + text.slice(from)
}

/** Payment card numbers (ISO/IEC 7812) of the large schemes, by first digits, length and check digit. */
const CARD_TEST = /\d{4}[ -]?\d{4}/
const CARD =
  /(?<![\d.])(?:4\d{3}|5[1-5]\d{2}|2[2-7]\d{2}|6(?:011|5\d{2}|4[4-9]\d))(?:[ -]?\d{4}){3}(?!\d)|(?<![\d.])3[47]\d{2}[ -]?\d{6}[ -]?\d{5}(?!\d)/g

function redactCard(text: string): string {
  return hasCheckDigit(text.replaceAll(/\D/g, '')) ? REDACTED : text
}

/** Luhn's check digit (ISO/IEC 7812-1, annex B). */
function hasCheckDigit(digits: string): boolean {
  let sum = 0
  for (let i = 0; i < digits.length; i++) {
    const digit = Number(digits[digits.length - 1 - i])
    const weighed = i % 2 === 1 ? digit * 2 : digit
    sum += weighed > 9 ? weighed - 9 : weighed
  }
  return sum % 10 === 0
}
