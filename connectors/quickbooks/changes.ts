import { z } from 'zod'
import { definePollSource } from 'trestle'
import { query } from './company.ts'
import { customer, invoice, payment } from './contracts.ts'
import { field, quoted } from './requests.ts'

/** Entities of one page; Intuit allows 1,000. */
const PAGE_SIZE = 100

const changed = { MetaData: z.looseObject({ CreateTime: z.string(), LastUpdatedTime: z.string() }) }

/**
 * Customers, invoices or payments that are new or changed, longest unchanged first: for companies whose webhooks
 * cannot reach you, and for what they missed. A void is a change. What was deleted is in no query; customers are made
 * inactive instead, and those are found.
 * Source: https://developer.intuit.com/app/developer/qbo/docs/learn/explore-the-quickbooks-online-api/data-queries
 * (WHERE with >=, ORDERBY, STARTPOSITION from 1, MAXRESULTS), read 2026-11-22. Times have whole seconds, so an entity
 * that changes twice within one is known again by its `SyncToken`.
 */
export const changes = {
  customers: sourceOf(
    'Customer',
    z.looseObject({ ...customer.shape, ...changed }),
    'Active in (true, false)',
  ),
  invoices: sourceOf('Invoice', z.looseObject({ ...invoice.shape, ...changed })),
  payments: sourceOf('Payment', z.looseObject({ ...payment.shape, ...changed })),
} as const

interface Changed {
  readonly Id: string
  readonly SyncToken: string
  readonly MetaData: { readonly LastUpdatedTime: string }
}

function sourceOf<Item extends Changed>(
  entity: 'Customer' | 'Invoice' | 'Payment',
  item: z.ZodType<Item>,
  ...conditions: readonly string[]
) {
  return definePollSource({
    summary: `${entity.toLowerCase()} new or changed`,
    operation: query,
    input: ({ since, after = 1 }) => {
      const where = [
        ...(since === undefined ? [] : [`MetaData.LastUpdatedTime >= ${quoted(since)}`]),
        ...conditions,
      ]
      return {
        statement: [
          `select * from ${entity}`,
          ...(where.length === 0 ? [] : [`where ${where.join(' and ')}`]),
          `orderby MetaData.LastUpdatedTime asc startposition ${after} maxresults ${PAGE_SIZE}`,
        ].join(' '),
      }
    },
    items: `/QueryResponse/${entity}`,
    item,
    id: ({ Id }: Item) => Id,
    version: ({ SyncToken }) => SyncToken,
    changedAt: ({ MetaData }) => MetaData.LastUpdatedTime,
    order: 'changedAt',
    next: (_page, { after = 1 }, count) => (count < PAGE_SIZE ? undefined : Number(after) + PAGE_SIZE),
    describe: (one) => `${entity.toLowerCase()} ${nameOf(one)}`,
  })
}

function nameOf(one: Changed): string {
  const name = field(one, 'DocNumber') ?? field(one, 'DisplayName')
  return typeof name === 'string' ? name : one.Id
}
