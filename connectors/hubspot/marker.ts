import { createHash } from 'node:crypto'

/**
 * The mark by which we know again what one step wrote, where HubSpot takes no idempotency key: 80 bits of the step's
 * key, so that two steps never share one. It is plain text, since HubSpot may clean markup out of rich text.
 */
export function markerOf(idempotencyKey: string): string {
  return `ref trestle-${createHash('sha256').update(idempotencyKey).digest('hex').slice(0, 20)}`
}
