import { z } from '@hono/zod-openapi'
import { durationMs } from '../../base/index.ts'
import {
  rightsOf,
  SCOPE_NAMES,
  scopesOf,
  TOKEN_ROLES,
  type ListedToken,
  type VerifiedToken,
} from '../../vault/index.ts'
import type { ApiDeps } from '../deps.ts'
import { defineRoute, type AnyRoute } from '../http/route.ts'
import { idParams, iso, time } from './schemas.ts'

const role = z.enum(TOKEN_ROLES).openapi('TokenRole')
const scope = z.enum(SCOPE_NAMES).openapi('TokenScope')

const facts = {
  id: z.string(),
  name: z.string(),
  role,
  scopes: z
    .array(scope)
    .openapi({ description: 'All that it may: its role, narrowed where it was narrowed.' }),
  narrowed: z.boolean().openapi({ description: 'Whether it may less than its role.' }),
  expiresAt: time.nullable().openapi({ description: 'null: never.' }),
}
const token = z
  .object({
    ...facts,
    start: z.string().nullable().openapi({ description: 'Its first characters, to find it again.' }),
    state: z.enum(['in_force', 'expired', 'revoked']),
    createdAt: time,
    createdBy: z.string().nullable(),
    lastUsedAt: time.nullable().openapi({ description: 'To some minutes.' }),
    revokedAt: time.nullable(),
    replacedBy: z.string().nullable().openapi({ description: 'The token that took its place.' }),
  })
  .openapi('Token')

const created = z
  .object({
    ...facts,
    token: z.string().openapi({ description: 'The token itself: shown now, and never again.' }),
  })
  .openapi('CreatedToken')

/** A duration such as `30d`, as milliseconds. */
const duration = (what: string): z.ZodType<number, string> =>
  z
    .string()
    .max(50)
    .transform((text, context) => {
      try {
        return durationMs(text)
      } catch {
        context.addIssue({ code: 'custom', message: 'Write a duration such as 30d, 12h or 90 days.' })
        return z.NEVER
      }
    })
    .openapi({ type: 'string', description: what, example: '30d' })

const expiresIn = duration('How long it is good from now on, 10 years at most.')
const newToken = z
  .strictObject({
    name: z.string().min(1).max(100).openapi({ description: 'What it is for.', example: 'shop backend' }),
    role: role
      .optional()
      .openapi({ description: 'Default: the least that has the scopes; without any, viewer.' }),
    scopes: z
      .array(scope)
      .min(1)
      .optional()
      .openapi({ description: 'Narrows the role. Default: all of it.' }),
    expiresIn: expiresIn.optional(),
  })
  .openapi('NewToken')

const BEYOND = 'More is given than your own token has, or for longer.'

/** Who may speak to this API. A token gives no more than it has, nor for longer, and only in its own tenant. */
export function tokenRoutes({ vault: { tokens }, clock }: ApiDeps): readonly AnyRoute[] {
  return [
    defineRoute({
      method: 'get',
      path: '/tokens',
      tag: 'Tokens',
      needs: { scope: 'tokens:read' },
      summary: 'List tokens, oldest first; never the tokens themselves',
      result: z.object({ items: z.array(token) }),
      async answer({ caller: { tenant } }) {
        return { items: (await tokens.list(tenant)).map((one) => asToken(one, clock.now())) }
      },
    }),
    defineRoute({
      method: 'post',
      path: '/tokens',
      tag: 'Tokens',
      needs: { scope: 'tokens:write' },
      summary: 'Make a token; the answer shows it, once',
      body: { schema: newToken },
      result: created,
      errors: { 403: BEYOND, 409: 'There are as many tokens as there may be.' },
      async answer({ body, caller }) {
        const { name, expiresIn: lifeMs } = body
        const made = await tokens.create({ ...caller, name, grants: rightsOf(body), lifeMs })
        return { ...factsOf(made), token: made.token }
      },
    }),
    defineRoute({
      method: 'post',
      path: '/tokens/{id}/rotate',
      tag: 'Tokens',
      needs: { scope: 'tokens:write' },
      summary: 'Rotate: a new token of the same name and rights; the old one is good for a while yet',
      params: idParams,
      body: {
        schema: z.strictObject({
          overlap: duration('How long the old one stays good, 30 days at most. Default: a day.').optional(),
          expiresIn: expiresIn.optional(),
        }),
        optional: true,
      },
      result: z
        .object({ made: created, old: z.object({ id: z.string(), expiresAt: time }) })
        .openapi('RotatedToken'),
      errors: { 403: BEYOND, 404: 'There is no such token.', 409: 'It is over, or was rotated already.' },
      async answer({ params, body, caller }) {
        const { made, old } = await tokens.rotate(caller.tenant, params.id, {
          actor: caller.actor,
          rights: caller.rights,
          expiresAt: caller.expiresAt,
          overlapMs: body.overlap,
          lifeMs: body.expiresIn,
        })
        return {
          made: { ...factsOf(made), token: made.token },
          old: { id: old.id, expiresAt: iso(old.expiresAt) },
        }
      },
    }),
    defineRoute({
      method: 'post',
      path: '/tokens/{id}/revoke',
      tag: 'Tokens',
      needs: { scope: 'tokens:write' },
      summary: 'Revoke: it is refused here at once, and on every node within 10 s',
      params: idParams,
      body: { schema: z.strictObject({}), optional: true },
      result: z.object({ id: z.string() }),
      errors: { 404: 'There is no such token, or it was revoked already.' },
      async answer({ params, caller }) {
        await tokens.revoke(caller.tenant, params.id, caller.actor)
        return { id: params.id }
      },
    }),
  ]
}

function factsOf(one: VerifiedToken): Pick<z.input<typeof token>, keyof typeof facts> {
  return {
    id: one.id,
    name: one.name,
    role: one.rights.role,
    scopes: [...scopesOf(one.rights)],
    narrowed: one.rights.scopes !== undefined,
    expiresAt: iso(one.expiresAt ?? null),
  }
}

function asToken(one: ListedToken, now: number): z.input<typeof token> {
  const isOver = one.expiresAt !== undefined && one.expiresAt.getTime() <= now
  return {
    ...factsOf(one),
    start: one.start ?? null,
    state: one.revokedAt ? 'revoked' : isOver ? 'expired' : 'in_force',
    createdAt: iso(one.createdAt),
    createdBy: one.createdBy ?? null,
    lastUsedAt: iso(one.lastUsedAt ?? null),
    revokedAt: iso(one.revokedAt ?? null),
    replacedBy: one.replacedBy ?? null,
  }
}
