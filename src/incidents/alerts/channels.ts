import { UsageError, type Clock } from '../../base/index.ts'
import type { AlertsDefinition, EmailAlerts, Secret, WebhookAlerts } from '../../define/index.ts'
import type { Egress } from '../../egress/index.ts'
import { signingKeyOf } from '../../vault/index.ts'
import type { Channel } from './channel.ts'
import { createEmailChannel } from './email.ts'
import { createWebhookChannel } from './webhook.ts'

export interface ChannelDeps {
  readonly clock: Clock
  readonly egress: Pick<Egress, 'send' | 'mail'>
  readonly environment: Readonly<Record<string, string | undefined>>
  /** Trusted certificate authority of the mail server in PEM, in place of the system's. */
  readonly ca?: string
}

/** The channels that the configuration declares, with their secrets. Throws a {@link UsageError} `config_invalid`. */
export function createChannels(alerts: AlertsDefinition | undefined, deps: ChannelDeps): readonly Channel[] {
  return [
    ...(alerts?.email ? [emailChannel(alerts.email, deps)] : []),
    ...(alerts?.webhook ? [webhookChannel(alerts.webhook, deps)] : []),
  ]
}

const SMTPS_PORT = 465
const SUBMISSION_PORT = 587

function emailChannel({ to, from, smtp }: EmailAlerts, deps: ChannelDeps): Channel {
  const { host, user, password, allowPrivateNetwork = false } = smtp
  const tls = smtp.tls ?? smtp.port === SMTPS_PORT
  return createEmailChannel({
    to: typeof to === 'string' ? [to] : to,
    from,
    server: {
      host,
      port: smtp.port ?? (tls === true ? SMTPS_PORT : SUBMISSION_PORT),
      security: tls === 'none' ? 'none' : tls ? 'tls' : 'starttls',
    },
    login:
      user === undefined || password === undefined
        ? undefined
        : {
            username: readSecret(user, 'email.smtp.user', deps),
            password: readSecret(password, 'email.smtp.password', deps),
          },
    allowPrivate: allowPrivateNetwork,
    mail: deps.egress.mail,
    ca: deps.ca,
  })
}

function webhookChannel({ url, secret, allowPrivateNetwork }: WebhookAlerts, deps: ChannelDeps): Channel {
  const key = signingKeyOf(readSecret(secret, 'webhook.secret', deps))
  if (key === undefined)
    throw new UsageError(
      'config_invalid',
      '"alerts": webhook.secret is no Standard Webhooks secret: "whsec_" and base64 of 24 to 64 bytes. Make one with: echo "whsec_$(openssl rand -base64 32)"',
    )
  return createWebhookChannel({
    url,
    key,
    allowPrivate: allowPrivateNetwork ?? false,
    clock: deps.clock,
    send: deps.egress.send,
  })
}

function readSecret(secret: Secret, where: string, { environment }: ChannelDeps): string {
  if (typeof secret === 'string') return secret
  const value = environment[secret.env]
  if (value !== undefined && value !== '') return value
  throw new UsageError(
    'config_invalid',
    `"alerts": ${where} comes from the environment variable ${secret.env}, which is not set. Set it, or leave the alerts by it out.`,
  )
}
