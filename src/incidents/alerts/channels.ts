import type { Clock } from '../../base/index.ts'
import { ALERT_CONNECTIONS, type AlertsDefinition } from '../../define/index.ts'
import type { Egress } from '../../egress/index.ts'
import type { StandingAuthorizer } from '../../vault/index.ts'
import type { Channel } from './channel.ts'
import { hasLogin, mailServerOfAlerts } from './connections.ts'
import { createEmailChannel } from './email.ts'
import { createWebhookChannel } from './webhook.ts'

export interface ChannelDeps {
  readonly clock: Clock
  readonly tenant: string
  readonly egress: Pick<Egress, 'send' | 'mail'>
  /** What authorizes over a connection of this name. Throws where its secrets cannot be opened. */
  readonly standing: (connection: string) => Promise<StandingAuthorizer>
  /** Trusted certificate authority of the mail server in PEM, in place of the system's. */
  readonly ca?: string
}

/**
 * The channels that the configuration declares. Throws what keeps the vault from opening their secrets: what is wrong
 * with them shows at start, and not when there is something to tell.
 */
export async function createChannels(
  alerts: AlertsDefinition | undefined,
  deps: ChannelDeps,
): Promise<readonly Channel[]> {
  const { clock, tenant, egress, ca } = deps
  const { email, webhook } = alerts ?? {}
  const channels: Channel[] = []
  if (email)
    channels.push(
      createEmailChannel({
        to: typeof email.to === 'string' ? [email.to] : email.to,
        from: email.from,
        server: mailServerOfAlerts(email),
        login: hasLogin(email) ? await deps.standing(ALERT_CONNECTIONS.email) : undefined,
        allowPrivate: email.smtp.allowPrivateNetwork ?? false,
        clock,
        tenant,
        mail: egress.mail,
        ca,
      }),
    )
  if (webhook)
    channels.push(
      createWebhookChannel({
        url: webhook.url,
        signing: await deps.standing(ALERT_CONNECTIONS.webhook),
        allowPrivate: webhook.allowPrivateNetwork ?? false,
        clock,
        tenant,
        send: egress.send,
      }),
    )
  return channels
}
