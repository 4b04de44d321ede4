import type { Socket } from 'node:net'
import { createTransport } from 'nodemailer'
import { reasonOf, SECOND } from '../../base/index.ts'
import type { AlertPayload } from '../incident.ts'
import type { Alert, Channel, Told } from './channel.ts'
import { alertWords } from './words.ts'

export interface EmailOptions {
  readonly to: readonly string[]
  readonly from: string
  readonly host: string
  readonly port: number
  /** TLS from the first byte. Without it, STARTTLS: always, unless the server is on a private network and offers none. */
  readonly tls: boolean
  readonly login?: { readonly user: string; readonly password: string } | undefined
  readonly allowPrivate: boolean
  /** Opens the way out; nothing else does. */
  readonly openSocket: (request: {
    readonly host: string
    readonly port: number
    readonly allowPrivate: boolean
    readonly timeoutMs: number
  }) => Promise<Socket>
  /** Trusted certificate authority in PEM, in place of the system's. */
  readonly ca?: string | undefined
}

/** Connecting, and each wait for the server. */
const SMTP_LIMIT_MS = 20 * SECOND

/**
 * Tells by e-mail: text and HTML (RFC 2046, 5.1.4), marked as automatic (RFC 3834). The opening's Message-ID is made of
 * the incident's id, and its end refers to it (RFC 5322, 3.6.4), so that both stand in one thread and a mail that is
 * sent twice can be told. nodemailer speaks SMTP over a socket that egress opened.
 */
export function createEmailChannel(options: EmailOptions): Channel {
  const { host, port, tls, login, allowPrivate, openSocket, ca } = options
  const transport = createTransport({
    host,
    port,
    secure: tls,
    requireTLS: !tls && !allowPrivate,
    ...(login && { auth: { user: login.user, pass: login.password } }),
    ...(ca !== undefined && { tls: { ca } }),
    getSocket: (_, done) => {
      openSocket({ host, port, allowPrivate, timeoutMs: SMTP_LIMIT_MS }).then(
        (connection) => done(null, { connection }),
        (error: Error) => done(error),
      )
    },
    connectionTimeout: SMTP_LIMIT_MS,
    greetingTimeout: SMTP_LIMIT_MS,
    socketTimeout: SMTP_LIMIT_MS,
    disableFileAccess: true,
    disableUrlAccess: true,
  })
  return {
    name: 'email',
    async tell(alert): Promise<Told> {
      try {
        const { rejected } = await transport.sendMail(mailOf(alert, options))
        return rejected.length === 0
          ? { as: 'told' }
          : { as: 'told', note: `The mail server refused ${rejected.map(addressOf).join(', ')}.` }
      } catch (error) {
        return { as: 'failed', reason: reasonOf(error) }
      }
    },
  }
}

function addressOf(address: string | { readonly address: string }): string {
  return typeof address === 'string' ? address : address.address
}

function mailOf({ payload }: Alert, { to, from }: Pick<EmailOptions, 'to' | 'from'>) {
  const { subject, text, html } = alertWords(payload)
  const opening = messageId(payload, 'opened', from)
  return {
    from,
    to: [...to],
    subject,
    text,
    html,
    date: new Date(payload.at),
    messageId: messageId(payload, payload.change, from),
    ...(payload.change === 'resolved' && { inReplyTo: opening, references: [opening] }),
    headers: { 'auto-submitted': 'auto-generated', 'x-trestle-incident': payload.incident },
  }
}

/** `<inc_….opened@domain of the sender>` */
function messageId({ incident }: AlertPayload, change: AlertPayload['change'], from: string): string {
  const domain = /@([^@>\s]+)>?\s*$/.exec(from)?.[1] ?? 'trestle.invalid'
  return `<${incident}.${change}@${domain}>`
}
