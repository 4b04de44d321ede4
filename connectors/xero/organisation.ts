import { z } from 'zod'
import { defineOperation } from 'trestle'
import { organisation, tenant } from './contracts.ts'
import { field, tenantRequest } from './requests.ts'

/** Reads the organisation that the connection belongs to: the cheapest sign that everything is right. */
export const retrieveOrganisation = defineOperation({
  summary: 'read the organisation',
  input: z.object({}),
  output: organisation,
  idempotency: { kind: 'natural' },
  request: (_input, context) => tenantRequest(context, { method: 'GET', path: '/Organisation' }),
  answer: ({ json }) => {
    const found = field(json, 'Organisations')
    return Array.isArray(found) ? found[0] : undefined
  },
  describe: (_input, found) => `organisation ${found.Name}`,
})

/**
 * The organisations that the authorization reaches, for choosing the setting `tenantId`. It needs no such setting and
 * counts against no organisation's limits.
 * Source: https://developer.xero.com/documentation/guides/oauth2/tenants, by xero-node 20.0.0 (updateTenants), read
 * 2026-11-22.
 */
export const listTenants = defineOperation({
  summary: 'list the connected organisations',
  input: z.object({}),
  output: z.array(tenant),
  idempotency: { kind: 'natural' },
  limits: [],
  request: () => ({ method: 'GET', path: '/connections', headers: { accept: 'application/json' } }),
  describe: (_input, found) => `${found.length} organisations`,
})
