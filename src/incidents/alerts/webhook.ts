import { createHmac } from 'node:crypto'
import { SECOND, type Clock } from '../../base/index.ts'
import type { Egress } from '../../egress/index.ts'
import type { Alert, Channel, Told } from './channel.ts'

export interface WebhookOptions {
  readonly url: string
  /** The key of a Standard Webhooks secret, decoded. */
  readonly key: Buffer
  readonly allowPrivate: boolean
  readonly clock: Clock
  readonly send: Egress['send']
}

const WEBHOOK_LIMIT_MS = 15 * SECOND

/**
 * Tells by a signed webhook: Standard Webhooks 1.0.0 (https://github.com/standard-webhooks/standard-webhooks, read
 * 2026-11-22), HMAC-SHA-256 over `id.timestamp.body`. The id is the alert's: the same in every attempt. As that
 * specification has it, 2xx is taken, 410 ends it, and everything else is tried again.
 */
export function createWebhookChannel(options: WebhookOptions): Channel {
  return {
    name: 'webhook',
    async tell(alert): Promise<Told> {
      const body = bodyOf(alert)
      const result = await options.send({
        method: 'POST',
        url: options.url,
        headers: {
          'content-type': 'application/json',
          'user-agent': 'Trestle',
          ...signatureOf(alert.id, body, options),
        },
        body,
        timeoutMs: WEBHOOK_LIMIT_MS,
        allowPrivate: options.allowPrivate,
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

function signatureOf(
  id: string,
  body: Buffer,
  { key, clock }: Pick<WebhookOptions, 'key' | 'clock'>,
): Readonly<Record<string, string>> {
  const timestamp = String(Math.floor(clock.now() / 1000))
  const signature = createHmac('sha256', key).update(`${id}.${timestamp}.`).update(body).digest('base64')
  return {
    'webhook-id': id,
    'webhook-timestamp': timestamp,
    'webhook-signature': `v1,${signature}`,
  }
}
