import {
  atPath,
  mailboxOf,
  parseJson,
  reasonOf,
  SECOND,
  type Clock,
  type MailServer,
} from '../../base/index.ts'
import { composeMail, type ComposedMail, type Egress, type EgressResult } from '../../egress/index.ts'
import type { StandingAuthorizer } from '../../vault/index.ts'
import type { AlertPayload } from '../incident.ts'
import type { Alert, Channel, Told } from './channel.ts'
import { alertWords } from './words.ts'

export interface EmailOptions {
  readonly to: readonly string[]
  readonly from: string
  readonly server: MailServer
  /** `undefined`: the server wants no login. */
  readonly login: StandingAuthorizer | undefined
  readonly allowPrivate: boolean
  readonly clock: Clock
  readonly tenant: string
  readonly mail: Egress['mail']
  /** Trusted certificate authority in PEM, in place of the system's. */
  readonly ca?: string | undefined
}

/** The whole of it. An alert that nobody knows of is sent again, so that it is not worth more. */
const MAIL_LIMIT_MS = 60 * SECOND

/**
 * Tells by e-mail: text and HTML (RFC 2046, 5.1.4), marked as automatic (RFC 3834). The opening's Message-ID is made of
 * the incident's id, and what follows refers to it (RFC 5322, 3.6.4), so that all stand in one thread and a mail that is
 * sent twice can be told.
 */
export function createEmailChannel(options: EmailOptions): Channel {
  return {
    name: 'email',
    async tell(alert): Promise<Told> {
      let result: EgressResult
      try {
        result = await sendOnce(options, alert.id, await mailOf(alert, options))
      } catch (error) {
        return { as: 'failed', reason: reasonOf(error) }
      }
      if (result.as !== 'answered') return { as: 'failed', reason: result.reason }
      const answer = parseJson(result.body)
      if (result.status >= 300)
        return {
          as: 'failed',
          reason: `The mail server answered ${result.status}: ${String(atPath(answer, 'reply.text'))}`,
        }
      const rejected = (atPath(answer, 'rejected') as readonly { address: string }[]).map(
        ({ address }) => address,
      )
      return rejected.length === 0
        ? { as: 'told' }
        : { as: 'told', note: `The mail server refused ${rejected.join(', ')}.` }
    },
  }
}

/** Where the login is refused and a former one counts still, it goes again with that: of a mail nothing was said yet. */
async function sendOnce(
  options: EmailOptions,
  id: string,
  mail: ComposedMail,
  again = false,
): Promise<EgressResult> {
  const { server, login, allowPrivate, ca, clock, tenant } = options
  const request = { method: 'MAIL', url: `smtp://${server.host}`, headers: {}, body: mail.bytes }
  const authorized = await login?.authorize(request, { idempotencyKey: id, now: clock.now() })
  const result = await options.mail({
    server,
    login: authorized?.login,
    mail,
    timeoutMs: MAIL_LIMIT_MS,
    allowPrivate,
    ca,
    ...(login && { onBehalfOf: { tenant, connectionId: login.id } }),
  })
  const loginRefused =
    result.as === 'answered' && result.status >= 500 && result.headers['smtp-command']?.startsWith('AUTH')
  if (!loginRefused || again || !authorized || !(await login?.refused(authorized.credentialVersion)))
    return result
  return sendOnce(options, id, mail, true)
}

function mailOf({ payload }: Alert, { to, from }: Pick<EmailOptions, 'to' | 'from'>): Promise<ComposedMail> {
  const { subject, text, html } = alertWords(payload)
  const opening = `<${idOf(payload, 'opened')}@${domainOf(from)}>`
  return composeMail(
    {
      from,
      to,
      subject: subject.replaceAll(/\s+/g, ' '),
      text,
      html,
      headers: {
        'auto-submitted': 'auto-generated',
        'x-trestle-incident': payload.incident,
        ...(payload.change !== 'opened' && { 'in-reply-to': opening, references: opening }),
      },
    },
    { id: idOf(payload, payload.change), at: Date.parse(payload.at) },
  )
}

/** An incident is opened and resolved once, and told again at several times. */
function idOf({ incident, at }: AlertPayload, change: AlertPayload['change']): string {
  return change === 'reminded' ? `${incident}.${change}.${Date.parse(at)}` : `${incident}.${change}`
}

function domainOf(from: string): string {
  return mailboxOf(from)?.address.split('@')[1] ?? 'trestle.invalid'
}
