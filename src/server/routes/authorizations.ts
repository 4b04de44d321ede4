import { z } from '@hono/zod-openapi'
import type { Authorization } from '../../vault/index.ts'
import type { ApiDeps } from '../deps.ts'
import { defineRoute, type AnyRoute } from '../http/route.ts'
import { iso, time } from './schemas.ts'

const authorization = z
  .object({
    id: z.string(),
    connection: z.string(),
    state: z
      .enum([
        'begun',
        'opened',
        'asking',
        'answered',
        'choosing',
        'granted',
        'failed',
        'cancelled',
        'expired',
      ])
      .openapi({
        description:
          'begun: nobody opened the address yet. opened: a browser is at the provider. asking, answered: the provider agreed, and the grant is being fetched. choosing: it opens several accounts. granted, failed, cancelled, expired: it is over.',
      }),
    code: z.string().nullable(),
    reason: z.string().nullable().openapi({ description: 'Why it failed, or what it waits for.' }),
    choices: z
      .array(z.object({ id: z.string(), name: z.string() }))
      .openapi({ description: 'Accounts to choose from, while it is choosing.' }),
    endsAt: time,
  })
  .openapi('Authorization')

const begun = authorization
  .extend({
    address: z.string().openapi({
      description:
        'Where the person who authorizes begins. Good once, in the browser that opens it first. Whoever has it can authorize the connection: show it to nobody else.',
    }),
  })
  .openapi('BegunAuthorization')

const revocation = z
  .object({
    outcome: z.enum(['revoked', 'failed', 'unsupported', 'nothing']).openapi({
      description:
        'failed: the grant is as good as before at the provider. unsupported: the connector names no endpoint for it. Take it back at the provider then.',
    }),
    code: z.string().nullable(),
    reason: z.string().nullable(),
  })
  .openapi('Revocation')

const nameParams = z.strictObject({ name: z.string().min(1).max(100) })
const idParams = z.strictObject({ id: z.string().min(1).max(100) })
const account = z.string().min(1).max(500)
/** A token endpoint and the question for the account may take 20 s each. */
const ASK_LIMIT_MS = 45_000

export function authorizationRoutes(deps: ApiDeps): readonly AnyRoute[] {
  const { vault, publicUrl } = deps
  return [
    defineRoute({
      method: 'post',
      path: '/connections/{name}/authorizations',
      tag: 'Connections',
      needs: { scope: 'connections:write' },
      summary: 'Begin an authorization: a person agrees at the provider, in a browser',
      description: 'Open the address in a browser within ten minutes, and look how it goes on with its id.',
      params: nameParams,
      body: {
        schema: z.strictObject({
          account: account
            .optional()
            .openapi({ description: 'Which account to take where the authorization opens several.' }),
        }),
        optional: true,
      },
      result: begun,
      errors: { 404: 'There is no such connection.' },
      async answer({ params, body, caller: { tenant, actor } }) {
        const made = await vault.authorizations.begin({
          tenant,
          actor,
          name: params.name,
          publicUrl: publicUrl(),
          account: body.account,
        })
        return { ...shown(made), address: made.address }
      },
    }),
    defineRoute({
      method: 'get',
      path: '/authorizations/{id}',
      tag: 'Connections',
      needs: { scope: 'connections:read' },
      summary: 'Show how an authorization goes on',
      params: idParams,
      result: authorization,
      errors: { 404: 'There is no such authorization.' },
      answer: async ({ params, caller: { tenant } }) =>
        shown(await vault.authorizations.read(tenant, params.id)),
    }),
    defineRoute({
      method: 'post',
      path: '/authorizations/{id}/choose',
      tag: 'Connections',
      needs: { scope: 'connections:write' },
      summary: 'Choose the account that the connection is for',
      params: idParams,
      body: { schema: z.strictObject({ account }) },
      result: authorization,
      errors: { 404: 'There is no such authorization.', 409: 'It has no account to choose, or no longer.' },
      limitMs: ASK_LIMIT_MS,
      answer: async ({ params, body, caller: { tenant, actor } }) =>
        shown(await vault.authorizations.choose(tenant, params.id, body.account, actor)),
    }),
    defineRoute({
      method: 'post',
      path: '/authorizations/{id}/cancel',
      tag: 'Connections',
      needs: { scope: 'connections:write' },
      summary: 'Cancel an authorization: its address is good for nothing from then on',
      params: idParams,
      body: { schema: z.strictObject({}), optional: true },
      result: authorization,
      errors: { 404: 'There is no such authorization.' },
      answer: async ({ params, caller: { tenant, actor } }) =>
        shown(await vault.authorizations.cancel(tenant, params.id, actor)),
    }),
    defineRoute({
      method: 'post',
      path: '/connections/{name}/revoke',
      tag: 'Connections',
      needs: { scope: 'connections:write' },
      summary: 'Take the grant of a connection back at the provider',
      description: 'The connection needs an authorization from then on. Its runs wait for it.',
      params: nameParams,
      body: { schema: z.strictObject({}), optional: true },
      result: revocation,
      errors: { 404: 'There is no such connection.' },
      limitMs: ASK_LIMIT_MS,
      async answer({ params, caller: { tenant, actor } }) {
        const done = await vault.revokeGrant(tenant, params.name, actor)
        return {
          outcome: done.as,
          code: done.as === 'failed' ? done.code : null,
          reason: done.as === 'failed' ? done.reason : null,
        }
      },
    }),
  ]
}

function shown(one: Authorization): z.input<typeof authorization> {
  return {
    id: one.id,
    connection: one.connection,
    state: one.state,
    code: one.code ?? null,
    reason: one.reason ?? null,
    choices: one.choices.map((choice) => ({ ...choice })),
    endsAt: iso(one.endsAt),
  }
}
