import { defineOperation } from 'trestle'
import { z } from 'zod'
import { health, list, listPage, mergeFieldPage } from './contracts.ts'
import { listId, listPath, page, TIMEOUT_MS } from './requests.ts'

/** The cheapest read: says that the key is good, and nothing else. */
export const ping = defineOperation({
  summary: 'ask whether the key is good',
  input: z.object({}),
  output: health,
  idempotency: { kind: 'natural' },
  request: () => ({ method: 'GET', path: '/3.0/ping' }),
  describe: (_input, { health_status: status }) => status,
})

/**
 * The audiences of the account.
 * Source: https://mailchimp.com/developer/marketing/api/lists/get-lists-info/, read 2026-11-23.
 */
export const listLists = defineOperation({
  summary: 'list the audiences',
  input: z.object({
    /** Only audiences with a member of this address. */
    email: z.email().optional(),
    ...page,
  }),
  output: listPage,
  idempotency: { kind: 'natural' },
  timeoutMs: TIMEOUT_MS,
  request: ({ email, count, offset }) => ({
    method: 'GET',
    path: '/3.0/lists',
    query: { email, count, offset },
  }),
  describe: (_input, { lists }) => `${lists.length} audience(s)`,
})

export const retrieveList = defineOperation({
  summary: 'read an audience',
  input: z.object({ listId }),
  output: list,
  idempotency: { kind: 'natural' },
  timeoutMs: TIMEOUT_MS,
  request: (input) => ({ method: 'GET', path: listPath(input.listId) }),
  describe: (_input, { name }) => `audience ${name}`,
})

/** The fields that an audience keeps of its members: what `mergeFields` of a member may hold. */
export const listMergeFields = defineOperation({
  summary: 'list the fields of an audience',
  input: z.object({ listId, ...page }),
  output: mergeFieldPage,
  idempotency: { kind: 'natural' },
  timeoutMs: TIMEOUT_MS,
  request: ({ listId: id, count, offset }) => ({
    method: 'GET',
    path: `${listPath(id)}/merge-fields`,
    query: { count, offset },
  }),
  describe: (_input, { merge_fields: fields }) => `${fields.length} field(s)`,
})
