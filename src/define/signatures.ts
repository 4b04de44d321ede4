import { UsageError } from '../base/index.ts'
import type { SignatureScheme, SignedPart } from './webhooks.ts'

/**
 * Signature schemes of known providers, ready for a connector's `webhooks.signature`. Each was written from the
 * page that its `source` names, and is tested against the provider's published example and its official package
 * where those exist.
 */
export const signatureSchemes = {
  /** Several `v1` stand in the header while a secret is being rolled. Other schemes (`v0`) are ignored. */
  stripe: {
    name: 'stripe',
    algorithm: 'sha256',
    encoding: 'hex',
    header: 'stripe-signature',
    format: { kind: 'pairs', key: 'v1', timestampKey: 't' },
    signed: ['timestamp', { text: '.' }, 'body'],
    timestamp: { unit: 's' },
    secret: 'utf8',
    source: 'https://docs.stripe.com/webhooks/signature and stripe 23.1.0, 2026-11-22',
  },
  /** Used by Svix and by our own outgoing events. Asymmetric `v1a` signatures are ignored. */
  standardWebhooks: {
    name: 'standard-webhooks',
    algorithm: 'sha256',
    encoding: 'base64',
    header: 'webhook-signature',
    format: { kind: 'list', version: 'v1' },
    signed: ['id', { text: '.' }, 'timestamp', { text: '.' }, 'body'],
    timestamp: { header: 'webhook-timestamp', unit: 's' },
    idHeader: 'webhook-id',
    secret: 'whsec',
    source:
      'https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md, 2026-11-22',
  },
  /** The secret is the app's client secret. Older versions of the signature (v1, v2) hold no timestamp and are not accepted. */
  hubspotV3: {
    name: 'hubspot-v3',
    algorithm: 'sha256',
    encoding: 'base64',
    header: 'x-hubspot-signature-v3',
    format: { kind: 'plain' },
    signed: ['method', 'decodedUrl', 'body', 'timestamp'],
    timestamp: { header: 'x-hubspot-request-timestamp', unit: 'ms' },
    secret: 'utf8',
    source:
      'https://developers.hubspot.com/docs/apps/developer-platform/build-apps/authentication/request-validation, 2026-11-22',
  },
  /**
   * The secret is the account's auth token. Nothing in it is dated, so a replay verifies: deduplicate by content.
   * Fields are signed without separators, so a captured form can be cut differently (`ab=c` for `a=bc`).
   */
  twilio: {
    name: 'twilio',
    algorithm: 'sha1',
    encoding: 'base64',
    header: 'x-twilio-signature',
    format: { kind: 'plain' },
    signed: ['url', 'sortedForm'],
    urlPort: 'either',
    bodyDigest: { query: 'bodySHA256', algorithm: 'sha256', encoding: 'hex' },
    secret: 'utf8',
    source: 'https://www.twilio.com/docs/usage/security and twilio 6.2.0, 2026-11-22',
  },
  /** Cal.com signs only where the webhook was given a secret. */
  calcom: {
    name: 'calcom',
    algorithm: 'sha256',
    encoding: 'hex',
    header: 'x-cal-signature-256',
    format: { kind: 'plain' },
    signed: ['body'],
    secret: 'utf8',
    source: 'https://cal.com/docs/core-features/webhooks, 2026-11-22',
  },
  /** The secret is the app's verifier token, not its client secret. */
  quickbooks: {
    name: 'quickbooks',
    algorithm: 'sha256',
    encoding: 'base64',
    header: 'intuit-signature',
    format: { kind: 'plain' },
    signed: ['body'],
    secret: 'utf8',
    source:
      'https://developer.intuit.com/app/developer/qbo/docs/develop/webhooks/managing-webhooks-notifications, 2026-11-22',
  },
  github: {
    name: 'github',
    algorithm: 'sha256',
    encoding: 'hex',
    header: 'x-hub-signature-256',
    format: { kind: 'prefixed', prefix: 'sha256=' },
    signed: ['body'],
    secret: 'utf8',
    source: 'https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries, 2026-11-22',
  },
  slack: {
    name: 'slack',
    algorithm: 'sha256',
    encoding: 'hex',
    header: 'x-slack-signature',
    format: { kind: 'prefixed', prefix: 'v0=' },
    signed: [{ text: 'v0:' }, 'timestamp', { text: ':' }, 'body'],
    timestamp: { header: 'x-slack-request-timestamp', unit: 's' },
    secret: 'utf8',
    source: 'https://api.slack.com/authentication/verifying-requests-from-slack, 2026-11-22',
  },
  /** The secret is the app's client secret. `x-shopify-webhook-id` is outside the signature. */
  shopify: {
    name: 'shopify',
    algorithm: 'sha256',
    encoding: 'base64',
    header: 'x-shopify-hmac-sha256',
    format: { kind: 'plain' },
    signed: ['body'],
    secret: 'utf8',
    source: 'https://shopify.dev/docs/apps/build/webhooks/subscribe/https, 2026-11-22',
  },
  /** Signed over the notification URL as it was given to Square, then the body. */
  square: {
    name: 'square',
    algorithm: 'sha256',
    encoding: 'base64',
    header: 'x-square-hmacsha256-signature',
    format: { kind: 'plain' },
    signed: ['url', 'body'],
    secret: 'utf8',
    source: 'https://developer.squareup.com/docs/webhooks/step3validate, 2026-11-22',
  },
  /** Xero wants 200 or 401 with an empty body and no cookies within 5 s; its "intent to receive" sends bad signatures on purpose. */
  xero: {
    name: 'xero',
    algorithm: 'sha256',
    encoding: 'base64',
    header: 'x-xero-signature',
    format: { kind: 'plain' },
    signed: ['body'],
    secret: 'utf8',
    source: 'https://developer.xero.com/documentation/webhooks/configuring-your-server, 2026-11-22',
  },
  /**
   * EasyPost's v1 signature, over the body as it came. Nothing in it is dated: a replay is caught by the event's id,
   * which stands in the signed body.
   */
  easypost: {
    name: 'easypost',
    algorithm: 'sha256',
    encoding: 'hex',
    header: 'x-hmac-signature',
    format: { kind: 'prefixed', prefix: 'hmac-sha256-hex=' },
    signed: ['body'],
    secret: 'utf8-nfkd',
    source: 'https://docs.easypost.com/guides/webhooks-guide and @easypost/api 8.9.0, 2026-11-22',
  },
} as const satisfies Record<string, SignatureScheme>

/** What {@link hmac} needs to know; the rest has the values that most providers use. */
export interface HmacOptions {
  /** Shown in errors. */
  readonly name: string
  /** Lower-case name of the header that carries the signature. */
  readonly header: string
  /** Where it is documented, and when it was read. */
  readonly source: string
  /** Default `'sha256'`. */
  readonly algorithm?: SignatureScheme['algorithm']
  /** Default `'hex'`. */
  readonly encoding?: SignatureScheme['encoding']
  /** Stands before the signature in the header, such as `'sha256='`. Default: nothing does. */
  readonly prefix?: string
  /** Default: the body alone. */
  readonly signed?: readonly SignedPart[]
  /** The header with the time of sending. It protects only if `signed` has `'timestamp'`. */
  readonly timestamp?: { readonly header: string; readonly unit: 's' | 'ms' }
  readonly idHeader?: string
  /** Default `'utf8'`. */
  readonly secret?: SignatureScheme['secret']
  /** Default 300. */
  readonly toleranceSeconds?: number
}

/**
 * A scheme for a provider that signs with an HMAC in one header:
 * `hmac({ name: 'acme', header: 'x-acme-signature', prefix: 'sha256=', source: '…' })`.
 * Throws a {@link UsageError} that names the mistake.
 */
export function hmac(options: HmacOptions): SignatureScheme {
  const { prefix, ...rest } = options
  const scheme: SignatureScheme = {
    algorithm: 'sha256',
    encoding: 'hex',
    signed: ['body'],
    secret: 'utf8',
    ...rest,
    format: prefix === undefined ? { kind: 'plain' } : { kind: 'prefixed', prefix },
  }
  const mistake = schemeMistake(scheme)
  if (mistake !== undefined)
    throw new UsageError('signature_scheme_invalid', `Signature scheme "${scheme.name}": ${mistake}`)
  return scheme
}

/** What makes a scheme unsafe or impossible to check, in words; `undefined` for a sound one. */
export function schemeMistake(scheme: SignatureScheme): string | undefined {
  const parts = new Set<SignedPart>(scheme.signed)
  const named = [scheme.header, scheme.idHeader, scheme.timestamp?.header]
  if (named.some((name) => name !== undefined && !/^[a-z0-9-]+$/.test(name)))
    return 'write the names of headers in lower case.'
  if (!parts.has('body') && scheme.bodyDigest === undefined)
    return "the body is not signed, so anybody could change it. Add 'body' to signed, or a bodyDigest."
  const dated = scheme.timestamp !== undefined
  if (parts.has('timestamp') !== dated)
    return dated
      ? "it has a timestamp that is not signed, which protects from nothing. Add 'timestamp' to signed."
      : 'a timestamp is signed, but nothing says where it is. Add timestamp.'
  if (dated && (scheme.timestamp?.header === undefined) !== (scheme.format.kind === 'pairs'))
    return 'the timestamp stands in its own header, or, with the format "pairs", in the signature header.'
  if (parts.has('id') !== (scheme.idHeader !== undefined))
    return "name the idHeader exactly if signed has 'id'."
  return undefined
}
