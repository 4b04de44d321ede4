import { UsageError, sortedFormText } from '../base/index.ts'
import type { SignatureScheme, UrlSecretScheme } from '../define/index.ts'
import { bodyDigestOf, digestOf, isForm, keyOf } from './signed-content.ts'

/** A webhook that is to be sent as its provider would. */
export interface PayloadToSign {
  /** Default `'POST'`. */
  readonly method?: string
  /** The endpoint's public URL, as the provider was given it. */
  readonly url: string
  readonly body: string | Buffer
  /** Default `'application/json'`. */
  readonly contentType?: string
  /** When it is signed, in milliseconds since 1970. */
  readonly at: number
  /** The delivery's id, where the scheme signs one. */
  readonly id?: string
}

export interface SignedPayload {
  /** The URL to send to; longer than the one given where the scheme puts something in the query. */
  readonly url: string
  /** `content-type` and everything that the signature needs. */
  readonly headers: Readonly<Record<string, string>>
}

/**
 * Signs a webhook as the provider does: the mirror of `verifySignature`, for twins and tests. With several secrets,
 * a header that can carry several signatures carries one for each, as while a secret is being rolled; else the
 * first one signs. For a secret in the URL, `url` has the first one. Throws a {@link UsageError} that says what is missing.
 */
export function signPayload(
  scheme: SignatureScheme | UrlSecretScheme,
  payload: PayloadToSign,
  secrets: readonly string[],
): SignedPayload {
  if ('kind' in scheme) return withUrlSecret(scheme, payload, secrets)
  const keys = secrets.map((secret) => keyOf(scheme, secret))
  if (keys.length === 0 || keys.includes(undefined))
    throw new UsageError('secret_malformed', `Signing as ${scheme.name} needs secrets as it writes them.`)
  if (scheme.idHeader !== undefined && !/^[\x21-\x2d\x2f-\x7e]+$/.test(payload.id ?? ''))
    throw new UsageError(
      'delivery_id_invalid',
      `Signing as ${scheme.name} needs an id of printable ASCII without a full stop.`,
    )
  const body = Buffer.from(payload.body)
  const contentType = payload.contentType ?? 'application/json'
  const form = scheme.signed.includes('sortedForm') && isForm(contentType)
  const values = {
    method: payload.method ?? 'POST',
    url: form ? payload.url : withBodyDigest(scheme, payload.url, body),
    timestamp: timestampText(scheme, payload.at),
    id: payload.id ?? '',
    sortedForm: form ? (sortedFormText(body) ?? '') : '',
    body,
  }
  const signatures = keys.map((key) => digestOf(scheme, key!, values).toString(scheme.encoding))
  const headers: Record<string, string> = {
    'content-type': contentType,
    [scheme.header]: writeFormat(scheme, signatures, values.timestamp),
  }
  if (scheme.timestamp?.header !== undefined) headers[scheme.timestamp.header] = values.timestamp
  if (scheme.idHeader !== undefined) headers[scheme.idHeader] = values.id
  return { url: values.url, headers }
}

function withUrlSecret(
  { name, query }: UrlSecretScheme,
  { url, contentType = 'application/json' }: PayloadToSign,
  [secret = '']: readonly string[],
): SignedPayload {
  if (secret === '') throw new UsageError('secret_malformed', `Sending as ${name} needs a secret.`)
  const whole = new URL(url)
  whole.searchParams.set(query, secret)
  return { url: whole.href, headers: { 'content-type': contentType } }
}

function timestampText(scheme: SignatureScheme, at: number): string {
  if (scheme.timestamp === undefined) return ''
  return String(Math.floor(at / (scheme.timestamp.unit === 's' ? 1000 : 1)))
}

function withBodyDigest(scheme: SignatureScheme, url: string, body: Buffer): string {
  if (scheme.bodyDigest === undefined || body.length === 0) return url
  const digest = bodyDigestOf(body).toString(scheme.bodyDigest.encoding)
  return `${url}${url.includes('?') ? '&' : '?'}${scheme.bodyDigest.query}=${digest}`
}

function writeFormat(scheme: SignatureScheme, signatures: readonly string[], timestamp: string): string {
  const { format } = scheme
  const first = signatures[0]!
  if (format.kind === 'plain') return first
  if (format.kind === 'prefixed') return `${format.prefix}${first}`
  if (format.kind === 'list') return signatures.map((signature) => `${format.version},${signature}`).join(' ')
  const pairs = signatures.map((signature) => `${format.key}=${signature}`)
  return [`${format.timestampKey}=${timestamp}`, ...pairs].join(',')
}
