import { domainToASCII } from 'node:url'

/** A mail as its author writes it. Message-ID and date are set by the platform. */
export interface Mail {
  /** `'ada@example.com'`, or with a name: `'Ada Lovelace <ada@example.com>'`. Also the envelope's sender. */
  readonly from: string
  /** One mailbox each, written like `from`. Together with `cc` and `bcc` 1 to 100 (RFC 5321, 4.5.3.1.8). */
  readonly to: readonly string[]
  readonly cc?: readonly string[] | undefined
  /** They get the mail, and nobody sees that they did. */
  readonly bcc?: readonly string[] | undefined
  readonly replyTo?: string | undefined
  readonly subject: string
  /** At least one of `text` and `html`; with both, the reader's program chooses (RFC 2046, 5.1.4). */
  readonly text?: string | undefined
  readonly html?: string | undefined
  /** Further headers, at most 50. Those that the mail has anyway cannot be set by this. */
  readonly headers?: Readonly<Record<string, string>> | undefined
  /** At most 50. With everything else they may make up 25 MiB as sent. */
  readonly attachments?: readonly MailAttachment[] | undefined
}

export interface MailAttachment {
  readonly filename: string
  /** Default `application/octet-stream`. */
  readonly contentType?: string | undefined
  readonly base64: string
}

/** The JSON body of an answer by SMTP. Its status is the reply's code, and the text of `text` the server's. */
export interface MailAnswer {
  /** `null` for a greeting. Made of the idempotency key, so that it is the same in every attempt (RFC 5322, 3.6.4). */
  readonly messageId: string | null
  /** Recipients that the server took the mail for. */
  readonly accepted: readonly string[]
  readonly rejected: readonly RejectedRecipient[]
  readonly reply: MailReply
}

export interface RejectedRecipient extends MailReply {
  readonly address: string
}

/** One reply of a mail server. */
export interface MailReply {
  /** RFC 5321, 4.2.1: 2yz done, 4yz not now, 5yz never. */
  readonly code: number
  /** RFC 3463, such as `5.1.1`: where the server gives one. */
  readonly enhanced: string | null
  /** The server's own words, at most 500 characters. */
  readonly text: string
}

/** Where mails of a connection go, and how they are protected on the way. */
export interface MailServer {
  readonly host: string
  readonly port: number
  /**
   * `tls` from the first byte (RFC 8314, 3.3); `starttls`: always, and nothing is sent without it (RFC 3207); `none`:
   * for private addresses only.
   */
  readonly security: 'tls' | 'starttls' | 'none'
}

const SMTPS_PORT = 465
const SUBMISSION_PORT = 587

/**
 * The mail server that a base URL names; `undefined` where it names none. `smtps://host` is TLS on port 465,
 * `smtp://host` STARTTLS on port 587, and `smtp://host?tls=none` no TLS at all.
 */
export function mailServerOf(url: string): MailServer | undefined {
  const parts = /^(smtps?):\/\/([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(\d{1,5}))?\/?(\?tls=none)?$/i.exec(url)
  if (!parts) return undefined
  const [, scheme, host, port, none] = parts
  const isSecure = scheme!.toLowerCase() === 'smtps'
  if (isSecure && none !== undefined) return undefined
  const number = Number(port ?? (isSecure ? SMTPS_PORT : SUBMISSION_PORT))
  if (number < 1 || number > 65_535) return undefined
  return {
    host: host!.replace(/^\[|\]$/g, ''),
    port: number,
    security: isSecure ? 'tls' : none === undefined ? 'starttls' : 'none',
  }
}

/** A mailbox (RFC 5322, 3.4): an address and, where there is one, its name. */
export interface Mailbox {
  readonly address: string
  readonly name: string
}

/** Longest address: a path of 256 octets with its angle brackets (RFC 5321, 4.5.3.1.3). */
const LONGEST_ADDRESS = 254
const LONGEST_LOCAL_PART = 64
/** RFC 5322, 3.2.3 (dot-atom); quoted local parts are left out, as nobody is given one. */
const LOCAL_PART = /^[a-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*$/i
const DOMAIN = /^(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/i
// oxlint-disable-next-line no-control-regex -- control characters are what is looked for
const CONTROL = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/

/**
 * Reads one mailbox: `ada@example.com` or `Ada Lovelace <ada@example.com>`. `undefined` for everything else, above all
 * for more than one and for what has a line break or another control character in it. A name in another script in the
 * domain is given in its ASCII form (RFC 5891).
 */
export function mailboxOf(text: string): Mailbox | undefined {
  if (text.length > 1_000 || CONTROL.test(text)) return undefined
  const parts = /^(?:([^<>]*)<([^<>]+)>|([^<>]+))$/.exec(text.trim())
  if (!parts) return undefined
  const written = (parts[2] ?? parts[3]!).trim()
  const at = written.lastIndexOf('@')
  const local = written.slice(0, at)
  if (at < 1 || local.length > LONGEST_LOCAL_PART || !LOCAL_PART.test(local)) return undefined
  const domain = domainToASCII(written.slice(at + 1))
  const address = `${local}@${domain}`
  if (!DOMAIN.test(domain) || address.length > LONGEST_ADDRESS) return undefined
  return { address, name: (parts[1] ?? '').trim().replace(/^"(.*)"$/, '$1') }
}

/** Whether a text may stand in one line, such as a subject. */
export function isOneLine(text: string): boolean {
  return !CONTROL.test(text)
}
