import { z } from '@hono/zod-openapi'
import { DAY } from '../../base/index.ts'
import { LONGEST_OVERLAP_MS } from '../../vault/index.ts'
import type { ApiDeps } from '../deps.ts'
import { defineRoute, type AnyRoute } from '../http/route.ts'
import { iso, time } from './schemas.ts'

const nameParams = z.strictObject({ name: z.string().min(1).max(100) })
/** The new one is tried first: the provider has 30 s by default. */
const ROTATE_LIMIT_MS = 40_000
const secretValue = z.string().min(1).max(100_000)

const rotated = z
  .object({
    fields: z.array(z.string()).openapi({ description: 'What was rotated. Never a value.' }),
    formerUntil: time.openapi({ description: 'Until then the former ones count, too.' }),
    tested: z
      .boolean()
      .openapi({ description: 'Whether the provider took the new one before it took over.' }),
  })
  .openapi('RotatedCredential')

/** Secrets of connections: their rotation, and when they end. */
export function credentialRoutes(deps: ApiDeps): readonly AnyRoute[] {
  return [
    defineRoute({
      method: 'post',
      path: '/connections/{name}/rotate',
      tag: 'Connections',
      needs: { scope: 'connections:write' },
      summary: 'Rotate secrets of a connection: the former ones count for a while longer',
      params: nameParams,
      body: {
        schema: z.strictObject({
          secrets: z.record(z.string().min(1).max(100), secretValue).openapi({
            description: 'By field, such as apiKey; under webhookSecret what webhooks are verified with.',
          }),
          overlapMs: z
            .int()
            .min(0)
            .max(LONGEST_OVERLAP_MS)
            .default(DAY)
            .openapi({ description: 'How long the former ones count, in milliseconds.' }),
          endsAt: z.iso
            .datetime({ offset: true })
            .optional()
            .openapi({ description: 'When the new ones end.' }),
          untested: z
            .boolean()
            .default(false)
            .openapi({ description: "Lets the new one take over without the connector's check." }),
        }),
      },
      result: rotated,
      errors: { 404: 'There is no such connection.', 400: 'The provider refuses it, or it is unusable.' },
      limitMs: ROTATE_LIMIT_MS,
      async answer({ params, body, caller }) {
        const { endsAt, ...wish } = body
        const done = await deps.rotateCredential(
          caller.tenant,
          params.name,
          { ...wish, endsAt: endsAt === undefined ? undefined : new Date(endsAt) },
          caller.actor,
        )
        return { fields: [...done.fields], formerUntil: iso(done.formerUntil), tested: done.tested }
      },
    }),
    defineRoute({
      method: 'post',
      path: '/connections/{name}/ends',
      tag: 'Connections',
      needs: { scope: 'connections:write' },
      summary: 'Say when a secret of a connection ends, so that somebody is told before',
      params: nameParams,
      body: {
        schema: z.strictObject({
          field: z.string().min(1).max(100),
          endsAt: z.iso.datetime({ offset: true }).nullable().openapi({ description: 'null: not known.' }),
        }),
      },
      result: z.object({ field: z.string(), endsAt: time.nullable() }),
      errors: { 404: 'There is no such connection.' },
      async answer({ params, body, caller }) {
        const endsAt = body.endsAt === null ? null : new Date(body.endsAt)
        await deps.vault.setEnd(caller.tenant, params.name, body.field, endsAt, caller.actor)
        return { field: body.field, endsAt: iso(endsAt) }
      },
    }),
  ]
}
