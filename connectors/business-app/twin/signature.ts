import { createHmac, timingSafeEqual } from 'node:crypto'

const TOLERANCE_SECONDS = 300

/**
 * What an app does that receives Standard Webhooks: checks the signature over `id.timestamp.body`, and the time to five
 * minutes on both sides. Gives the reason of a refusal.
 * Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md, read 2026-11-22.
 */
export function refusalOf(
  request: {
    readonly headers: Readonly<Record<string, string>>
    readonly body: Buffer
    readonly now: number
  },
  secret: string,
): string | undefined {
  const { 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': signature } = request.headers
  if (!id || !timestamp || !signature) return 'webhook-id, webhook-timestamp or webhook-signature is missing'
  if (!/^\d+$/.test(timestamp)) return 'webhook-timestamp is not a whole number'
  if (Math.abs(Math.floor(request.now / 1000) - Number(timestamp)) > TOLERANCE_SECONDS)
    return 'webhook-timestamp is more than five minutes from now'
  const expected = createHmac('sha256', Buffer.from(secret.replace(/^whsec_/, ''), 'base64'))
    .update(`${id}.${timestamp}.`)
    .update(request.body)
    .digest()
  const good = signature
    .split(' ')
    .filter((one) => one.startsWith('v1,'))
    .map((one) => Buffer.from(one.slice(3), 'base64'))
    .some((given) => given.length === expected.length && timingSafeEqual(given, expected))
  return good ? undefined : 'no signature matches'
}
