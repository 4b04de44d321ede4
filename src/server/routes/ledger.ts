import { z } from '@hono/zod-openapi'
import { encodeJson } from '../../base/index.ts'
import { listEntries, type WrittenEntry } from '../../ledger/index.ts'
import type { ApiDeps } from '../deps.ts'
import { JsonText } from '../http/json.ts'
import { asPage, pageOf, pagingQuery } from '../http/paging.ts'
import { defineRoute, type AnyRoute } from '../http/route.ts'
import { anyJson, connectionFilter, filterText, id, time } from './schemas.ts'

export const entry = z
  .object({
    id: z.string(),
    at: time,
    actor: z.string(),
    action: z.string().openapi({ description: 'What was done: "run.succeeded".' }),
    target: z.string().openapi({ description: 'What it was done to.' }),
    outcome: z.string(),
    runId: z.string().nullable(),
    connectionId: z.string().nullable(),
    detail: anyJson
      .optional()
      .openapi({ description: 'The evidence; of a call, request and answer, redacted.' }),
  })
  .openapi('LedgerEntry')

export function ledgerRoutes({
  database: { pool },
  vault,
}: Pick<ApiDeps, 'database' | 'vault'>): readonly AnyRoute[] {
  return [
    defineRoute({
      method: 'get',
      path: '/ledger',
      tag: 'Ledger',
      needs: { scope: 'ledger:read' },
      summary: 'List what was exchanged and done',
      query: z.strictObject({
        ...pagingQuery,
        run: id.optional().openapi({ description: 'Id of a run.' }),
        target: filterText(300).optional(),
        connection: connectionFilter,
        action: filterText(100).optional(),
      }),
      result: pageOf(entry),
      async answer({ query, caller: { tenant } }) {
        const connectionId =
          query.connection === undefined
            ? undefined
            : (await vault.loadConnection(tenant, query.connection)).id
        const page = await listEntries(pool, {
          tenant,
          order: query.order,
          limit: query.limit,
          ...(query.cursor === undefined ? {} : { cursor: query.cursor }),
          ...(query.run === undefined ? {} : { runId: query.run }),
          ...(query.target === undefined ? {} : { target: query.target }),
          ...(query.action === undefined ? {} : { action: query.action }),
          ...(connectionId === undefined ? {} : { connectionId }),
        })
        return asPage(page, asEntry)
      },
    }),
  ]
}

export function asEntry(row: WrittenEntry): z.input<typeof entry> {
  return {
    id: row.id,
    at: new Date(row.at).toISOString(),
    actor: row.actor,
    action: row.action,
    target: row.target,
    outcome: row.outcome,
    runId: row.runId ?? null,
    connectionId: row.connectionId ?? null,
    ...(row.detail === undefined ? {} : { detail: new JsonText(encodeJson(row.detail)) }),
  }
}
