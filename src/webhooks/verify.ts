import { sortedFormText } from '../base/index.ts'
import { createHash, timingSafeEqual } from 'node:crypto'
import type { SignatureScheme, UrlSecretScheme } from '../define/index.ts'
import {
  bodyDigestOf,
  DIGEST_BYTES,
  digestOf,
  headerOf,
  isForm,
  keyOf,
  type RawHeaders,
  type SignedValues,
} from './signed-content.ts'

/** One request as its signature is checked over. */
export interface SignedRequest {
  readonly method: string
  /** The public URL that the provider was given, with the query that the request came with. */
  readonly url: string
  readonly headers: RawHeaders
  readonly body: Buffer
}

/**
 * What is wrong with a signature:
 * - `signature_missing`: a header (signature, timestamp, id) is not there;
 * - `signature_malformed`: a header is there twice, or is not written as the scheme says;
 * - `signature_invalid`: the check was made and no signature matches any secret;
 * - `timestamp_outside_tolerance`: the signature is good, but made too long ago or in the future;
 * - `secret_missing`, `secret_malformed`: the check could not be completed, by a fault of ours.
 */
type SignatureCode =
  | 'signature_missing'
  | 'signature_malformed'
  | 'signature_invalid'
  | 'timestamp_outside_tolerance'
  | 'secret_missing'
  | 'secret_malformed'

export type SignatureVerdict =
  | {
      readonly ok: true
      /** When the provider says that it signed, in milliseconds since 1970. */
      readonly signedAt?: number
      /** The signed delivery id. */
      readonly id?: string
    }
  | { readonly ok: false; readonly code: SignatureCode; readonly reason: string }

type Refused = Extract<SignatureVerdict, { ok: false }>

/** Signatures that one header may carry. Providers send two while a secret is being rolled. */
export const SIGNATURES_LIMIT = 16

export const DEFAULT_TOLERANCE_SECONDS = 300

/**
 * Whether a request was signed with one of the secrets, not longer than the tolerance from `nowMs` on either side.
 * Digests are compared in constant time. Whatever stands in the request, it returns and never throws.
 * For a {@link UrlSecretScheme}: whether one of the secrets stands in its URL. It has no time and no id.
 */
export function verifySignature(
  scheme: SignatureScheme | UrlSecretScheme,
  request: SignedRequest,
  secrets: readonly string[],
  nowMs: number,
): SignatureVerdict {
  if ('kind' in scheme) return verifyUrlSecret(scheme, request.url, secrets)
  const claim = readClaim(scheme, request.headers)
  if (!claim.ok) return claim
  const covered = coverBody(scheme, request)
  if (!covered.ok) return covered
  const values = {
    method: request.method,
    body: request.body,
    sortedForm: covered.sortedForm,
    ...claim.values,
  }
  const match = matchSecrets(scheme, claim.digests, secrets, urlsOf(scheme, request.url), values)
  if (match !== true) return match
  return judgeTimestamp(scheme, claim.values, nowMs)
}

/** Digests are compared, not texts, so that neither the length nor a common beginning shows in the time it takes. */
function verifyUrlSecret(scheme: UrlSecretScheme, url: string, secrets: readonly string[]): SignatureVerdict {
  const [claimed, ...more] = queryValues(url, scheme.query)
  if (claimed === undefined)
    return refused('signature_missing', `the URL has no "${scheme.query}" in its query`)
  if (more.length > 0) return refused('signature_malformed', `the URL has "${scheme.query}" more than once`)
  const usable = secrets.filter((secret) => typeof secret === 'string' && secret !== '')
  const given = sha256(claimed)
  for (const secret of usable) if (timingSafeEqual(sha256(secret), given)) return { ok: true }
  if (secrets.length === 0)
    return refused(
      'secret_missing',
      `this endpoint has no webhook secret: add the text that stands after ${scheme.query}= in the URL given to the provider`,
    )
  if (usable.length < secrets.length)
    return refused('secret_malformed', 'a webhook secret is empty: enter it again')
  return refused('signature_invalid', `"${scheme.query}" in the URL is none of the webhook secrets`)
}

function sha256(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}

/** What the headers claim. */
interface Claim {
  readonly ok: true
  readonly digests: readonly Buffer[]
  readonly values: { readonly timestamp: string; readonly id: string }
}

function readClaim(scheme: SignatureScheme, headers: RawHeaders): Claim | Refused {
  const signature = requiredHeader(headers, scheme.header)
  if (!signature.ok) return signature
  const written = readFormat(scheme, signature.value)
  if (!written.ok) return written
  let timestamp = written.timestamp ?? ''
  if (scheme.timestamp?.header !== undefined) {
    const header = requiredHeader(headers, scheme.timestamp.header)
    if (!header.ok) return header
    timestamp = header.value
  }
  if (scheme.timestamp !== undefined && !/^\d{1,15}$/.test(timestamp))
    return refused('signature_malformed', 'the timestamp is not a whole number')
  let id = ''
  if (scheme.idHeader !== undefined) {
    const header = requiredHeader(headers, scheme.idHeader)
    if (!header.ok) return header
    id = header.value
    // Standard Webhooks, "Signature scheme": else a part of the id could be taken for the timestamp.
    if (id === '' || id.includes('.'))
      return refused('signature_malformed', `the header ${scheme.idHeader} is empty or has a full stop in it`)
  }
  const digests = decodeDigests(scheme, written.signatures)
  if (digests.length === 0)
    return refused(
      'signature_malformed',
      `the header ${scheme.header} holds no ${scheme.algorithm} signature in ${scheme.encoding}`,
    )
  return { ok: true, digests, values: { timestamp, id } }
}

function requiredHeader(
  headers: RawHeaders,
  name: string,
): { readonly ok: true; readonly value: string } | Refused {
  const value = headerOf(headers, name)
  if (value === undefined) return refused('signature_missing', `the header ${name} is missing`)
  if (value === null)
    return refused('signature_malformed', `the header ${name} is there more than once, or is no text`)
  return { ok: true, value }
}

function readFormat(
  scheme: SignatureScheme,
  header: string,
): { readonly ok: true; readonly signatures: readonly string[]; readonly timestamp?: string } | Refused {
  const { format } = scheme
  if (format.kind === 'plain') return { ok: true, signatures: [header] }
  if (format.kind === 'prefixed')
    return header.startsWith(format.prefix)
      ? { ok: true, signatures: [header.slice(format.prefix.length)] }
      : refused('signature_malformed', `the header ${scheme.header} does not begin with ${format.prefix}`)
  if (format.kind === 'list') {
    const prefix = `${format.version},`
    const ours = header.split(' ', SIGNATURES_LIMIT).filter((one) => one.startsWith(prefix))
    return { ok: true, signatures: ours.map((one) => one.slice(prefix.length)) }
  }
  const pairs = header.split(',', SIGNATURES_LIMIT + 1)
  const [timestamp, ...more] = valuesOf(pairs, format.timestampKey)
  return timestamp === undefined || more.length > 0
    ? refused(
        'signature_malformed',
        `the header ${scheme.header} must hold ${format.timestampKey}= exactly once`,
      )
    : { ok: true, signatures: valuesOf(pairs, format.key), timestamp }
}

function valuesOf(pairs: readonly string[], key: string): string[] {
  const found: string[] = []
  for (const pair of pairs) {
    const equals = pair.indexOf('=')
    if (equals !== -1 && pair.slice(0, equals).trim() === key) found.push(pair.slice(equals + 1).trim())
  }
  return found
}

/** The signatures that are digests of the right length, written in the one canonical way. */
function decodeDigests(scheme: SignatureScheme, signatures: readonly string[]): Buffer[] {
  const bytes = DIGEST_BYTES[scheme.algorithm]
  const digests: Buffer[] = []
  for (const text of signatures) {
    const digest = decodeDigest(text, scheme.encoding, bytes)
    if (digest !== undefined) digests.push(digest)
  }
  return digests
}

function decodeDigest(text: string, encoding: 'hex' | 'base64', bytes: number): Buffer | undefined {
  if (text.length !== (encoding === 'hex' ? bytes * 2 : Math.ceil(bytes / 3) * 4)) return undefined
  const digest = Buffer.from(text, encoding)
  const canonical = encoding === 'hex' ? text.toLowerCase() : text
  return digest.length === bytes && digest.toString(encoding) === canonical ? digest : undefined
}

type Coverage = { readonly ok: true; readonly sortedForm: string } | Refused

/** That no body goes uncovered: by the signature itself, as a signed form, or by a digest in the signed query. */
function coverBody(scheme: SignatureScheme, request: SignedRequest): Coverage {
  if (scheme.signed.includes('body')) return { ok: true, sortedForm: '' }
  const { bodyDigest } = scheme
  const claimed = bodyDigest === undefined ? [] : queryValues(request.url, bodyDigest.query)
  if (bodyDigest !== undefined && claimed.length > 0) return coverByDigest(bodyDigest, claimed, request.body)
  if (request.body.length === 0) return { ok: true, sortedForm: '' }
  if (!scheme.signed.includes('sortedForm') || !isForm(headerOf(request.headers, 'content-type')))
    return refused('signature_missing', 'nothing in the request covers a body of this content type')
  const sortedForm = sortedFormText(request.body)
  return sortedForm === undefined
    ? refused('signature_malformed', 'the form has too many fields to be checked')
    : { ok: true, sortedForm }
}

function coverByDigest(
  bodyDigest: NonNullable<SignatureScheme['bodyDigest']>,
  claimed: readonly string[],
  body: Buffer,
): Coverage {
  const { query, algorithm, encoding } = bodyDigest
  const digest =
    claimed.length === 1 ? decodeDigest(claimed[0]!, encoding, DIGEST_BYTES[algorithm]) : undefined
  if (digest === undefined)
    return refused(
      'signature_malformed',
      `the query must hold ${query} once, a ${algorithm} digest in ${encoding}`,
    )
  return timingSafeEqual(digest, bodyDigestOf(body))
    ? { ok: true, sortedForm: '' }
    : refused('signature_invalid', `the body is not the one that ${query} was made over`)
}

function queryValues(url: string, name: string): string[] {
  const query = url.indexOf('?')
  return query === -1 ? [] : new URLSearchParams(url.slice(query + 1)).getAll(name)
}

/** The URLs that the provider may have signed. */
function urlsOf(scheme: SignatureScheme, url: string): readonly string[] {
  if (scheme.urlPort !== 'either') return [url]
  const parts = /^([a-z][a-z0-9+.-]*):\/\/((?:[^/?#@]*@)?(?:\[[^\]]*\]|[^/?#:]*))(:\d+)?(.*)$/is.exec(url)
  if (parts === null) return [url]
  const [, protocol = '', host = '', port = '', rest = ''] = parts
  const withPort = port || (protocol.toLowerCase() === 'https' ? ':443' : ':80')
  return [`${protocol}://${host}${rest}`, `${protocol}://${host}${withPort}${rest}`]
}

/** True as soon as one secret's digest is among those claimed. */
function matchSecrets(
  scheme: SignatureScheme,
  digests: readonly Buffer[],
  secrets: readonly string[],
  urls: readonly string[],
  values: Omit<SignedValues, 'url'>,
): true | Refused {
  let unusable = 0
  for (const secret of secrets) {
    const key = keyOf(scheme, secret)
    if (key === undefined) {
      unusable++
      continue
    }
    for (const url of urls) {
      const expected = digestOf(scheme, key, { ...values, url })
      for (const digest of digests) if (timingSafeEqual(expected, digest)) return true
    }
  }
  if (secrets.length === 0)
    return refused(
      'secret_missing',
      'this endpoint has no webhook secret: add the one that the provider shows',
    )
  if (unusable > 0)
    return refused(
      'secret_malformed',
      `${unusable} of ${secrets.length} webhook secrets is empty or not written as ${scheme.name} writes it: enter it again`,
    )
  return refused('signature_invalid', 'no signature matches any of the webhook secrets')
}

function judgeTimestamp(
  scheme: SignatureScheme,
  values: { readonly timestamp: string; readonly id: string },
  nowMs: number,
): SignatureVerdict {
  const id = scheme.idHeader === undefined ? {} : { id: values.id }
  if (scheme.timestamp === undefined) return { ok: true, ...id }
  const unitMs = scheme.timestamp.unit === 's' ? 1000 : 1
  const signedAt = Number(values.timestamp) * unitMs
  const toleranceMs = (scheme.toleranceSeconds ?? DEFAULT_TOLERANCE_SECONDS) * 1000
  // Compared in the sender's unit, as its own verifier does: 300.9 s after a whole second is 300 s.
  const distanceMs = Math.abs(Math.floor(nowMs / unitMs) * unitMs - signedAt)
  if (distanceMs > toleranceMs)
    return refused(
      'timestamp_outside_tolerance',
      `signed ${Math.round(distanceMs / 1000)} s ${signedAt > nowMs ? 'in the future' : 'ago'}, at most ${toleranceMs / 1000} s is accepted: a replay, or a wrong clock here or there`,
    )
  return { ok: true, signedAt, ...id }
}

function refused(code: SignatureCode, reason: string): Refused {
  return { ok: false, code, reason }
}
