import { reasonOf, SECOND, type Clock } from '../../base/index.ts'
import type { Egress } from '../../egress/index.ts'
import type { AuthorizedRequest, StandingAuthorizer } from '../../vault/index.ts'
import type { Alert, Channel, Told } from './channel.ts'

export interface WebhookOptions {
  readonly url: string
  readonly signing: StandingAuthorizer
  readonly allowPrivate: boolean
  readonly clock: Clock
  readonly tenant: string
  readonly send: Egress['send']
}

const WEBHOOK_LIMIT_MS = 15 * SECOND

/**
 * Tells by a webhook that the vault signs: Standard Webhooks 1.0.0 (https://github.com/standard-webhooks/standard-webhooks,
 * read 2026-11-22). The id is the alert's: the same in every attempt. As that specification has it, 2xx is taken, 410
 * ends it, and everything else is tried again.
 */
export function createWebhookChannel(options: WebhookOptions): Channel {
  const { url, signing, allowPrivate, clock, tenant } = options
  return {
    name: 'webhook',
    async tell(alert): Promise<Told> {
      const body = bodyOf(alert)
      const headers = { 'content-type': 'application/json', 'user-agent': 'Trestle' }
      let signed: AuthorizedRequest
      try {
        signed = await signing.authorize(
          { method: 'POST', url, headers, body },
          { idempotencyKey: alert.id, now: clock.now() },
        )
      } catch (error) {
        return { as: 'failed', reason: reasonOf(error) }
      }
      const result = await options.send({
        method: 'POST',
        url,
        headers: signed.headers,
        body,
        timeoutMs: WEBHOOK_LIMIT_MS,
        allowPrivate,
        onBehalfOf: { tenant, connectionId: signing.id },
      })
      if (result.as !== 'answered') return { as: 'failed', reason: result.reason }
      if (result.status >= 200 && result.status < 300) return { as: 'told' }
      const reason = `It answered with HTTP ${result.status}.`
      return result.status === 410 ? { as: 'refused', reason } : { as: 'failed', reason }
    },
  }
}

/** As the specification recommends: type, timestamp, data. */
function bodyOf({ payload }: Alert): Buffer {
  const { change, at, ...rest } = payload
  return Buffer.from(JSON.stringify({ type: `incident.${change}`, timestamp: at, data: rest }))
}
