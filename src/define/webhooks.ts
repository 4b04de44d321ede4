import type { JsonValue } from '../base/index.ts'
import type { Settings } from './operation.ts'

/** Parts that a signature is made over, in order. A literal is written as `{ text: '.' }`. */
export type SignedPart =
  | 'body'
  /** The request's method in upper case. */
  | 'method'
  /** The endpoint's public URL with its query, exactly as the provider was given it. */
  | 'url'
  /** Like `url`, with the escapes decoded that HubSpot's v3 signature decodes: `%3A %2F %3F %40 %21 %24 %27 %28 %29 %2A %2C %3B`. */
  | 'decodedUrl'
  /** The value of the timestamp as it came. */
  | 'timestamp'
  /** The value of the delivery id as it came. */
  | 'id'
  /** Form fields sorted by name, each name followed by its value (Twilio). Empty for other bodies. */
  | 'sortedForm'
  | { readonly text: string }

/** A provider's webhook signature, as data. Every scheme is checked by the same code, in constant time. */
export interface SignatureScheme {
  /** Shown in errors: `'stripe'`, `'standard-webhooks'`. */
  readonly name: string
  readonly algorithm: 'sha1' | 'sha256' | 'sha512'
  readonly encoding: 'hex' | 'base64'
  /** Lower-case name of the header that carries the signature or signatures. */
  readonly header: string
  /**
   * How the header is written: `plain`, the signature alone; `prefixed`, `prefix` and the signature;
   * `pairs`, comma-separated `k=v` with signatures under `key` (Stripe, Calendly); `list`, space-separated
   * `version,signature` (Standard Webhooks).
   */
  readonly format:
    | { readonly kind: 'plain' }
    | { readonly kind: 'prefixed'; readonly prefix: string }
    | { readonly kind: 'pairs'; readonly key: string; readonly timestampKey: string }
    | { readonly kind: 'list'; readonly version: string }
  readonly signed: readonly SignedPart[]
  /** Where the timestamp is and its unit. With `pairs` it stands in the signature header. Absent: none is signed. */
  readonly timestamp?: { readonly header?: string; readonly unit: 's' | 'ms' }
  readonly idHeader?: string
  /**
   * How the secret's text becomes the key. `utf8-nfkd`: its UTF-8 bytes after Unicode normalisation NFKD (EasyPost).
   * `whsec`: base64 after an optional `whsec_`.
   */
  readonly secret: 'utf8' | 'utf8-nfkd' | 'whsec' | 'base64'
  /** Accepted distance from now, on both sides, in seconds. Default 300. Without a signed timestamp it has no meaning. */
  readonly toleranceSeconds?: number
  /** `either`: the provider may have signed the URL with or without its port, so both are tried (Twilio). Default: as it is. */
  readonly urlPort?: 'either'
  /**
   * A second check over the body where the signature does not cover it: Twilio's `bodySHA256` query parameter for
   * bodies that are no form. A body that neither this nor a form signature covers is refused.
   */
  readonly bodyDigest?: { readonly query: string; readonly algorithm: 'sha256'; readonly encoding: 'hex' }
  /** Where it is documented, and when it was read. */
  readonly source: string
}

/**
 * A provider that signs nothing: its webhooks are known by a secret in the URL that it was given (Mailchimp). It says
 * that the sender knows the URL, and nothing about the body: whoever has seen the URL, such as a proxy's log, can send
 * any event. Compared in constant time, several secrets at once during rotation. An event's id is never signed here.
 */
export interface UrlSecretScheme {
  readonly kind: 'url_secret'
  /** Shown in errors. */
  readonly name: string
  /** Name of the query parameter that holds the secret, exactly once. */
  readonly query: string
  /** Where it is documented, and when it was read. */
  readonly source: string
}

/** One event that a delivery carries: facts about it, and where in the body its data stands. */
export interface IncomingEvent {
  /** The provider's id of the event, where there is one. */
  readonly id?: string
  /** The event's type, which triggers name. */
  readonly type: string
  /** When it happened, ISO 8601, where the provider says so. */
  readonly occurredAt?: string
  /** JSON Pointer (RFC 6901) to the event's data in the body. `''` is the whole body. */
  readonly at: string
}

/** A delivery that was verified, as a connector sees it. */
export interface IncomingDelivery {
  /** The body, parsed losslessly; a form body is an object of its fields. */
  readonly body: JsonValue
  readonly headers: Readonly<Record<string, string>>
  /** The connection's settings: they tell which events are its own, where one endpoint gets those of many accounts. */
  readonly settings: Settings
}

export interface WebhookDefinition {
  readonly signature: SignatureScheme | UrlSecretScheme | 'none'
  /**
   * The provider asks for the URL with GET when the webhook is set up, and wants a 2xx (Mailchimp). Such a request is
   * checked as its `signature` says, answered with an empty 200, and nothing is stored. Default: GET is 405.
   */
  readonly setUpByGet?: true
  /** Content types that are accepted, without parameters. Default `['application/json']`; anything else is 415. */
  readonly contentTypes?: readonly string[]
  /**
   * The 0 to n events in a delivery. Leave out what is not the connection's. Throw to say that the body is not what the provider documents; the delivery
   * is then accepted and quarantined.
   */
  readonly events: (delivery: IncomingDelivery) => readonly IncomingEvent[]
  /** Whether the event's id is inside what the signature covers. Ids outside (a header) can be changed by a replay. */
  readonly idIsSigned: boolean
  /**
   * Dotted path to a provider timestamp or unique id inside the body, which makes equal content mean the same event.
   * Needed for the content key where the id is not signed; without it two equal bodies are two events.
   */
  readonly contentUniqueBy?: string
  /** Its deliveries may also come in as CloudEvents 1.0 at `POST /api/v1/events`, authenticated by an API token. */
  readonly cloudEvents?: true
  /** Dotted paths in bodies whose values must not reach the ledger. */
  readonly secret?: readonly string[]
}
