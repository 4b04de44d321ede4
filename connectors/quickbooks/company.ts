import { z } from 'zod'
import { defineOperation } from 'trestle'
import { companyInfo, queryResponse } from './contracts.ts'
import { companyRequest, field, queryRequest } from './requests.ts'

/** Reads the company that the connection belongs to: the cheapest sign that everything is right. */
export const retrieveCompany = defineOperation({
  summary: 'read the company',
  input: z.object({}),
  output: companyInfo,
  idempotency: { kind: 'natural' },
  request: (_input, context) =>
    companyRequest(context, {
      method: 'GET',
      path: `/companyinfo/${encodeURIComponent(context.settings['realmId'] ?? '')}`,
    }),
  answer: ({ json }) => field(json, 'CompanyInfo'),
  describe: (_input, found) => `company ${found.CompanyName}`,
})

/**
 * One page of a query in Intuit's language: `select * from Invoice where Balance > '0' startposition 1 maxresults 100`.
 * There is no OR and no join; a page holds at most 1,000. Put values in with {@link quoted}.
 * Source: https://developer.intuit.com/app/developer/qbo/docs/learn/explore-the-quickbooks-online-api/data-queries,
 * read 2026-11-22.
 */
export const query = defineOperation({
  summary: 'query the books',
  input: z.object({ statement: z.string().regex(/^\s*select\s/i) }),
  output: queryResponse,
  idempotency: { kind: 'natural' },
  request: ({ statement }, context) => queryRequest(context, statement),
  answer: ({ json }) => field(json, 'QueryResponse'),
})
