import { FORM_CONTENT_TYPE } from '../base/index.ts'
import { createHash, createHmac } from 'node:crypto'
import type { SignatureScheme } from '../define/index.ts'

/** Headers as they came, repeated ones kept. */
export type RawHeaders = readonly (readonly [name: string, value: string])[]

/** The values that a signature may be made over. */
export interface SignedValues {
  readonly method: string
  readonly url: string
  /** As text, as it came. `''` where the scheme has none. */
  readonly timestamp: string
  readonly id: string
  readonly sortedForm: string
  readonly body: Buffer
}

/** Bytes of each algorithm's digest. */
export const DIGEST_BYTES = { sha1: 20, sha256: 32, sha512: 64 } as const

/** The digest that the provider should have made over these values with this key. */
export function digestOf(scheme: SignatureScheme, key: Buffer, values: SignedValues): Buffer {
  const mac = createHmac(scheme.algorithm, key)
  for (const part of scheme.signed) {
    switch (part) {
      case 'body':
        mac.update(values.body)
        break
      case 'method':
        mac.update(values.method.toUpperCase())
        break
      case 'url':
        mac.update(values.url)
        break
      case 'decodedUrl':
        mac.update(decodeHubspotUrl(values.url))
        break
      // Node gives each byte of a header as one character, so these are the bytes as they came.
      case 'timestamp':
        mac.update(values.timestamp, 'latin1')
        break
      case 'id':
        mac.update(values.id, 'latin1')
        break
      case 'sortedForm':
        mac.update(values.sortedForm)
        break
      default:
        mac.update(part.text)
    }
  }
  return mac.digest()
}

/**
 * The HMAC key in a secret's text, or `undefined` where there is none in it: an empty key would make every
 * forgery good.
 */
export function keyOf(scheme: SignatureScheme, secret: string): Buffer | undefined {
  if (typeof secret !== 'string') return undefined
  const key = keyBytes(scheme.secret, secret)
  return key !== undefined && key.length > 0 ? key : undefined
}

function keyBytes(written: SignatureScheme['secret'], secret: string): Buffer | undefined {
  switch (written) {
    case 'utf8':
      return Buffer.from(secret, 'utf8')
    case 'utf8-nfkd':
      return Buffer.from(secret.normalize('NFKD'), 'utf8')
    case 'whsec':
      return strictBase64(secret.replace(/^whsec_/, ''))
    case 'base64':
      return strictBase64(secret)
  }
}

/** SHA-256 of the body, for a scheme's `bodyDigest`. */
export function bodyDigestOf(body: Buffer): Buffer {
  return createHash('sha256').update(body).digest()
}

/** A content type in lower case, without its parameters. */
export function essenceOf(contentType: string): string {
  const end = contentType.indexOf(';')
  return (end === -1 ? contentType : contentType.slice(0, end)).trim().toLowerCase()
}

export function isForm(contentType: string | null | undefined): boolean {
  return typeof contentType === 'string' && essenceOf(contentType) === FORM_CONTENT_TYPE
}

/** The single value of a header, `undefined` where it is not there, `null` where it stands there more than once. */
export function headerOf(headers: RawHeaders, lowerCaseName: string): string | null | undefined {
  let found: string | undefined
  for (const [name, value] of headers) {
    if (name.length !== lowerCaseName.length || name.toLowerCase() !== lowerCaseName) continue
    if (found !== undefined || typeof value !== 'string') return null
    found = value
  }
  return found
}

function strictBase64(text: string): Buffer | undefined {
  return /^[A-Za-z0-9+/]+={0,2}$/.test(text) ? Buffer.from(text, 'base64') : undefined
}

/** https://developers.hubspot.com/docs/apps/developer-platform/build-apps/authentication/request-validation, read 2026-11-22. */
const HUBSPOT_ESCAPES = /%(?:3A|2F|3F|40|21|24|27|28|29|2A|2C|3B)/gi

function decodeHubspotUrl(url: string): string {
  return url.includes('%') ? url.replace(HUBSPOT_ESCAPES, decodeURIComponent) : url
}
