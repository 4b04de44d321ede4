import { z } from '@hono/zod-openapi'
import { NotFoundError } from '../../base/index.ts'
import { transaction } from '../../db/index.ts'
import { writeEntries } from '../../ledger/index.ts'
import type { CallOutcome } from '../../calls/index.ts'
import type { ListedConnection } from '../../vault/index.ts'
import type { ApiDeps } from '../deps.ts'
import { defineRoute, type AnyRoute } from '../http/route.ts'
import { iso, time } from './schemas.ts'

const connection = z
  .object({
    id: z.string(),
    name: z.string(),
    connector: z.string(),
    title: z.string().openapi({ description: "The provider's name, as people write it." }),
    state: z.enum(['active', 'needs_reauthorization', 'revoked']),
    baseUrl: z.string(),
    settings: z.record(z.string(), z.string()),
    allowPrivateNetwork: z.boolean(),
    declared: z.boolean().openapi({ description: 'Whether trestle.config.ts has it.' }),
    webhookUrl: z.string().nullable().openapi({ description: 'What the provider is to be given.' }),
    secrets: z
      .array(z.object({ field: z.string(), version: z.string(), updatedAt: time }))
      .openapi({ description: 'Which secrets it has. Never their values.' }),
    tokenExpiresAt: time.nullable(),
    endings: z
      .array(
        z.object({
          what: z.enum([
            'access token',
            'authorization',
            'unused authorization',
            'secret',
            'former secret',
            'certificate',
          ]),
          field: z.string().nullable(),
          endsAt: time,
          by: z.enum(['trestle', 'person', 'provider']).openapi({ description: 'Who sees to it.' }),
          todo: z.string(),
        }),
      )
      .openapi({
        description: "What of its credentials is known to end, and its server's certificate, the next first.",
      }),
    check: z
      .object({
        checkedAt: time.nullable(),
        outcome: z.string().nullable(),
        code: z.string().nullable(),
        reason: z.string().nullable(),
        usedAt: time.nullable().openapi({ description: 'When a call was last answered, to the minute.' }),
        dueAt: time,
      })
      .nullable()
      .openapi({ description: 'What the check of an idle connection came to last.' }),
    createdAt: time,
  })
  .openapi('Connection')

const tested = z
  .object({
    ok: z.boolean(),
    outcome: z.enum(['succeeded', 'not_found', 'deferred', 'parked', 'failed', 'in_doubt', 'quarantined']),
    code: z.string().nullable(),
    reason: z.string().nullable(),
    summary: z.string().nullable(),
    status: z.int().nullable().openapi({ description: "HTTP status of the provider's answer." }),
    ms: z.number().nullable(),
  })
  .openapi('ConnectionTest')

const nameParams = z.strictObject({ name: z.string().min(1).max(100) })
/** The provider has 30 s by default; then the call ends by itself. */
const TEST_LIMIT_MS = 40_000

export function connectionRoutes(deps: ApiDeps): readonly AnyRoute[] {
  const { vault } = deps
  return [
    defineRoute({
      method: 'get',
      path: '/connections',
      tag: 'Connections',
      needs: { scope: 'connections:read' },
      summary: 'List connections',
      result: z.object({ items: z.array(connection) }),
      async answer({ caller: { tenant } }) {
        const all = await vault.listConnections(tenant)
        return { items: all.map((one) => asConnection(one, deps)) }
      },
    }),
    defineRoute({
      method: 'get',
      path: '/connections/{name}',
      tag: 'Connections',
      needs: { scope: 'connections:read' },
      summary: 'Show a connection',
      params: nameParams,
      result: connection,
      errors: { 404: 'There is no such connection.' },
      async answer({ params, caller: { tenant } }) {
        const all = await vault.listConnections(tenant)
        const found = all.find((one) => one.name === params.name)
        if (!found)
          throw new NotFoundError('connection', params.name, 'List them with GET /api/v1/connections.')
        return asConnection(found, deps)
      },
    }),
    defineRoute({
      method: 'post',
      path: '/connections/{name}/test',
      tag: 'Connections',
      needs: { scope: 'connections:test' },
      summary: "Test a connection: make the connector's check, a cheap read",
      params: nameParams,
      body: { schema: z.strictObject({}), optional: true },
      result: tested,
      errors: { 404: 'There is no such connection.' },
      limitMs: TEST_LIMIT_MS,
      async answer({ params, caller }) {
        const { id } = await vault.loadConnection(caller.tenant, params.name)
        const outcome = await deps.testConnection(caller.tenant, params.name)
        await recordTest(deps, caller, id, outcome)
        return asTested(outcome)
      },
    }),
  ]
}

function asConnection(
  one: ListedConnection,
  { connectorNamed, publicUrl }: ApiDeps,
): z.input<typeof connection> {
  return {
    id: one.id,
    name: one.name,
    connector: one.connector,
    title: connectorNamed(one.connector)?.title ?? one.connector,
    state: one.state,
    baseUrl: one.baseUrl,
    settings: { ...one.settings },
    allowPrivateNetwork: one.allowPrivateNetwork,
    declared: one.declared,
    webhookUrl: one.endpoint ? `${publicUrl()}/webhooks/${one.endpoint.path}` : null,
    secrets: one.secrets.map(({ field, version, updatedAt }) => ({
      field,
      version,
      updatedAt: iso(updatedAt),
    })),
    tokenExpiresAt: iso(one.tokenExpiresAt ?? null),
    endings: one.endings.map((ending) => ({
      ...ending,
      field: ending.field ?? null,
      endsAt: iso(ending.endsAt),
    })),
    check: one.check
      ? {
          checkedAt: iso(one.check.checkedAt ?? null),
          outcome: one.check.outcome ?? null,
          code: one.check.code ?? null,
          reason: one.check.reason ?? null,
          usedAt: iso(one.check.usedAt ?? null),
          dueAt: iso(one.check.dueAt),
        }
      : null,
    createdAt: iso(one.createdAt),
  }
}

async function recordTest(
  { database, clock }: ApiDeps,
  {
    tenant,
    actor,
  }: { readonly tenant: string; readonly actor: Parameters<typeof writeEntries>[1][number]['actor'] },
  connectionId: string,
  outcome: CallOutcome,
): Promise<void> {
  await transaction(database.pool, (client) =>
    writeEntries(client, [
      {
        tenant,
        at: clock.now(),
        actor,
        action: 'connection.tested',
        target: connectionId,
        outcome: outcome.as,
        connectionId,
        detail: {
          ...('code' in outcome ? { code: outcome.code, reason: outcome.reason } : {}),
          ...('exchange' in outcome && outcome.exchange ? { exchange: outcome.exchange } : {}),
        },
      },
    ]),
  )
}

function asTested(outcome: CallOutcome): z.input<typeof tested> {
  const exchange = 'exchange' in outcome ? outcome.exchange : undefined
  return {
    ok: outcome.as === 'succeeded',
    outcome: outcome.as,
    code: 'code' in outcome ? outcome.code : null,
    reason: 'reason' in outcome ? outcome.reason : null,
    summary: outcome.as === 'succeeded' ? (outcome.summary ?? null) : null,
    status: exchange?.status ?? null,
    ms: exchange?.ms ?? null,
  }
}
