import { z } from 'zod'
import {
  defineConfig,
  defineConnector,
  defineOperation,
  type AlertsDefinition,
  type Config,
} from '../../src/define/index.ts'

export const CLIENT = { id: 'trestle', secret: 'a-secret-of-the-test-client' }

const me = defineOperation({
  summary: 'who am I',
  input: z.object({}),
  output: z.object({ ok: z.boolean() }),
  idempotency: { kind: 'natural' },
  effect: 'read',
  request: () => ({ method: 'GET', path: '/me' }),
})

export const portal = defineConnector({
  name: 'portal',
  title: 'Portal',
  baseUrl: 'https://portal.example',
  auth: {
    kind: 'oauth2',
    tokenUrl: '/token',
    authorizeUrl: '/auth',
    scopes: ['openid', 'offline_access'],
    clientAuth: 'basic',
  },
  operations: { me },
  events: {},
  limits: [],
  check: { operation: 'me', input: {} },
})

/** Where the connections find their provider: its API, and the witness in front of its token endpoint. */
export interface Portals {
  readonly apiUrl: string
  readonly witnessUrl: string
  readonly connections: readonly string[]
  readonly alerts: AlertsDefinition
}

/** Connections whose grants are given at run time. Each asks for tokens below its own name. */
export function configOf({ apiUrl, witnessUrl, connections, alerts }: Portals): Config {
  return defineConfig({
    connections: Object.fromEntries(
      connections.map((name) => [
        name,
        portal.connect({
          baseUrl: apiUrl,
          tokenUrl: `${witnessUrl}/${name}/token`,
          allowPrivateNetwork: true,
          secrets: { clientId: CLIENT.id, clientSecret: CLIENT.secret },
        }),
      ]),
    ),
    flows: [],
    alerts,
  })
}
