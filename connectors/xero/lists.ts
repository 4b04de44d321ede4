import { z } from 'zod'
import { defineOperation } from 'trestle'
import { field, modifiedSince, PAGE_LIMIT, tenantRequest } from './requests.ts'

/** How long a page is where nobody says. */
export const PAGE_SIZE = 100

/**
 * A page of contacts, invoices or payments, longest unchanged first.
 * Source: https://developer.xero.com/documentation/api/requests-and-responses (paging, If-Modified-Since, order) and
 * https://github.com/XeroAPI/Xero-OpenAPI (pagination), read 2026-11-22.
 */
export function listOperation<Item extends z.ZodType, Kind extends 'Contact' | 'Invoice' | 'Payment'>(
  kind: Kind,
  item: Item,
) {
  const page = z.looseObject({
    [`${kind}s`]: z.array(item),
    pagination: z.looseObject({ page: z.number(), pageCount: z.number().optional() }).optional(),
  } as { readonly [Name in `${Kind}s`]: z.ZodArray<Item> } & {
    readonly pagination: z.ZodOptional<
      z.ZodObject<{ page: z.ZodNumber; pageCount: z.ZodOptional<z.ZodNumber> }>
    >
  })
  return defineOperation({
    summary: `list ${kind.toLowerCase()}s`,
    input: z.object({
      /** Only what was made or changed at this time or later, ISO 8601; Xero looks at whole seconds. */
      modifiedSince: z.iso.datetime({ offset: true }).optional(),
      /** From 1. Default 1. */
      page: z.number().int().min(1).optional(),
      /** Default 100. */
      pageSize: z.number().int().min(1).max(PAGE_LIMIT).optional(),
    }),
    output: page,
    idempotency: { kind: 'natural' },
    request: (input, context) =>
      tenantRequest(context, {
        method: 'GET',
        path: `/${kind}s`,
        query: {
          order: 'UpdatedDateUTC ASC',
          page: input.page ?? 1,
          pageSize: input.pageSize ?? PAGE_SIZE,
          ...(kind === 'Contact' ? { includeArchived: true } : {}),
        },
        ...(input.modifiedSince === undefined ? {} : { headers: modifiedSince(input.modifiedSince) }),
      }),
    // Without the envelope, whose id and time are those of the answer.
    answer: ({ json }) => ({ [`${kind}s`]: field(json, `${kind}s`), pagination: field(json, 'pagination') }),
  })
}
