import { mailboxOf, UsageError } from '../base/index.ts'
import type { Secret } from './connector.ts'

/** Who is told of incidents, and how. Each of them is told when one is opened and when it is over. */
export interface AlertsDefinition {
  readonly email?: EmailAlerts
  readonly webhook?: WebhookAlerts
}

export interface EmailAlerts {
  /** One address or several, up to 50. */
  readonly to: string | readonly string[]
  /** An address, or a name with one: `'Trestle <trestle@example.com>'`. */
  readonly from: string
  readonly smtp: {
    readonly host: string
    /** Default 587 (submission, RFC 6409); 465 where `tls` is true. */
    readonly port?: number
    /**
     * `true`: TLS from the first byte (RFC 8314). `false`: STARTTLS, and nothing is sent to a server without it.
     * `'none'`: no TLS at all, which needs `allowPrivateNetwork`, and a private address. Default: true on port 465.
     */
    readonly tls?: boolean | 'none'
    /** Default: no login. */
    readonly user?: Secret
    /** Left out, it comes from the vault: `trestle connections add alerts-email`. */
    readonly password?: Secret
    /** Allows a mail server on a private or loopback address. Default false. */
    readonly allowPrivateNetwork?: boolean
  }
}

export interface WebhookAlerts {
  /** Gets a POST, signed by Standard Webhooks, for each change. */
  readonly url: string
  /** `whsec_` and 24 to 64 bytes in base64. Left out, it comes from the vault: `trestle connections add alerts-webhook`. */
  readonly secret?: Secret
  /** Allows private and loopback addresses, and http to them. Default false. */
  readonly allowPrivateNetwork?: boolean
}

/**
 * The connections that alerts go over, by channel. Their secrets are sealed and rotated like all others; no other
 * connection can have these names.
 */
export const ALERT_CONNECTIONS = { email: 'alerts-email', webhook: 'alerts-webhook' } as const

/** Most addresses that mails go to. */
export const RECIPIENTS_LIMIT = 50

/** Throws a {@link UsageError} `config_invalid` that names the mistake. */
export function checkAlerts({ email, webhook }: AlertsDefinition): void {
  const refuse = (what: string): never => {
    throw new UsageError('config_invalid', `"alerts": ${what}`)
  }
  if (email) {
    const to = typeof email.to === 'string' ? [email.to] : email.to
    if (to.length === 0 || to.length > RECIPIENTS_LIMIT)
      refuse(`email.to has ${to.length} addresses; give 1 to ${RECIPIENTS_LIMIT}.`)
    for (const address of to)
      if (mailboxOf(address) === undefined) refuse(`email.to has "${address}", which is no address.`)
    if (mailboxOf(email.from ?? '') === undefined)
      refuse(`email.from is "${email.from}"; write an address, such as 'Trestle <trestle@example.com>'.`)
    if (!email.smtp?.host) refuse('email.smtp needs a host, such as smtp.example.com.')
    if (email.smtp.tls === 'none' && email.smtp.allowPrivateNetwork !== true)
      refuse("email.smtp.tls is 'none', which is for private addresses: it needs allowPrivateNetwork: true.")
    if (email.smtp.user === undefined && email.smtp.password !== undefined)
      refuse(
        'email.smtp has a password and no user. Add the user, or leave both out where there is no login.',
      )
  }
  if (webhook) {
    if (!/^https?:\/\/\S+$/.test(webhook.url ?? '') || !URL.canParse(webhook.url))
      refuse(`webhook.url is "${webhook.url}"; write an address, such as https://app.example.com/alerts.`)
  }
}
