import { DAY, defineConnector, defineFlow, MINUTE, SECOND, type Config, type LimitDefinition } from 'trestle'
import { acme, SECRET } from './acme.ts'

const source = 'bench/parts/limitedProvider.ts'

/** What the benchmark's provider allows: 100 calls in a second, and several windows at once. */
export const LIMITS: Readonly<Record<'second' | 'several', readonly LimitDefinition[]>> = {
  second: [
    { name: 'second', allowed: 100, windowMs: SECOND, source },
    { name: 'day', allowed: 5_000_000, windowMs: DAY, source },
  ],
  several: [
    { name: 'second', allowed: 150, windowMs: SECOND, source },
    { name: 'ten-seconds', allowed: 1_000, windowMs: 10 * SECOND, source },
    { name: 'minute', allowed: 7_000, windowMs: MINUTE, source },
    { name: 'day', allowed: 5_000_000, windowMs: DAY, source },
  ],
}
/** Calls in a second that the strictest of them allows, in either. */
export const ALLOWED_PER_SECOND = 100

/** A bulk flow and an interactive one, each of one call over the same connection. */
export function budgetConfig(providerUrl: string, limits: readonly LimitDefinition[]): Config {
  const limited = defineConnector({ ...acme, limits })
  return {
    connections: {
      acme: limited.connect({
        baseUrl: providerUrl,
        allowPrivateNetwork: true,
        secrets: { token: 'bench-token' },
        webhookSecrets: [SECRET],
      }),
    },
    flows: [
      defineFlow({
        name: 'import',
        on: limited.on('payment.succeeded'),
        priority: 'bulk',
        run: async ({ event, use }) => {
          await use(limited).contacts.upsert({ email: event.data.customer })
        },
      }),
      defineFlow({
        name: 'checkout',
        on: limited.on('payment.noted'),
        priority: 'interactive',
        run: async ({ event, use }) => {
          const { amount, sentAt } = event.data as { amount: number; sentAt: number }
          await use(limited).invoices.create({ contact: 'c', amount, sentAt })
        },
      }),
    ],
    isConfig: true,
  }
}
