import { z } from 'zod'
import {
  defineConnector,
  defineEvent,
  defineFlow,
  defineOperation,
  signatureSchemes,
  type AnyFlow,
  type AuthScheme,
  type OAuth2Scheme,
} from '../../../src/define/index.ts'

/** Secrets that must never be seen anywhere but at the provider that they are for. */
export const SECRETS = { token: 'battery-token-of-the-connection', client: 'battery-secret-of-the-client' }

const OAUTH: OAuth2Scheme = {
  kind: 'oauth2',
  tokenUrl: '/token',
  authorizeUrl: '/authorize',
  scopes: ['read'],
  clientAuth: 'basic',
}

function connectorOf(name: string, auth: AuthScheme) {
  return defineConnector({
    name,
    title: name,
    baseUrl: 'https://battery.test',
    auth,
    operations: {
      look: defineOperation<Record<string, never>, unknown>({
        summary: 'look at something',
        input: z.strictObject({}),
        output: z.unknown(),
        effect: 'read',
        idempotency: { kind: 'natural' },
        request: () => ({ method: 'GET', path: '/look' }),
        timeoutMs: 5000,
      }),
    },
    events: {
      asked: defineEvent({
        schema: z.object({ connection: z.string() }),
        summary: 'somebody wants something of a connection',
      }),
    },
    webhooks: {
      signature: signatureSchemes.standardWebhooks,
      idIsSigned: true,
      events: ({ body }) => [{ id: (body as { id: string }).id, type: 'asked', at: '/data' }],
    },
    limits: [],
    check: { operation: 'look', input: {} },
  })
}

export const probe = connectorOf('probe', { kind: 'bearer' })
export const signedIn = connectorOf('signed-in', OAUTH)

export const BATTERY_FLOWS: readonly AnyFlow[] = [
  defineFlow({
    name: 'asked',
    on: probe.on('asked'),
    retry: { first: '100 ms', cap: '200 ms', attempts: 3 },
    run: ({ event, use }) => use(probe, event.data.connection).look({}),
  }),
]
