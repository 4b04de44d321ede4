import { defineOperation } from 'trestle'
import { z } from 'zod'
import { classifyRead } from './answers.ts'
import {
  customer,
  deletedCustomer,
  listOf,
  metadataInput,
  pageInput,
  searchOf,
  type Customer,
} from './contracts.ts'
import { toForm, toQuery } from './form.ts'
import { KEY_LIFETIME_MS, limitsOf } from './limits.ts'
import { findMarked, marked, SETTLE_AFTER_MS } from './marker.ts'

const PATH = '/v1/customers'
/** How far Stripe's clock may be behind ours. */
const CLOCK_SKEW_SECONDS = 300

const fields = {
  email: z.string().max(512).nullable().optional(),
  name: z.string().max(256).nullable().optional(),
  phone: z.string().max(20).nullable().optional(),
  description: z.string().nullable().optional(),
  metadata: metadataInput.optional(),
}

const customerId = z.string().regex(/^cus_/, 'an id of a customer begins with cus_')

/** https://docs.stripe.com/api/customers/retrieve. A deleted customer has only `id` and `deleted: true`. */
export const retrieveCustomer = defineOperation({
  summary: 'read a customer',
  input: z.object({ id: customerId }),
  output: z.union([deletedCustomer, customer]),
  idempotency: { kind: 'natural' },
  classify: classifyRead,
  limits: limitsOf('customers.retrieve'),
  request: ({ id }) => ({ method: 'GET', path: `${PATH}/${encodeURIComponent(id)}` }),
  describe: ({ id }, found) => `customer ${'deleted' in found ? `${id} (deleted)` : nameOf(found)}`,
})

/**
 * https://docs.stripe.com/api/customers/create. Stripe allows several customers with one address: look first with
 * `customers.list` where there should be one.
 */
export const createCustomer = defineOperation({
  summary: 'create a customer',
  input: z.object(fields),
  output: customer,
  idempotency: {
    kind: 'key',
    place: { header: 'idempotency-key' },
    lifetimeMs: KEY_LIFETIME_MS,
    replaysErrors: true,
    afterLifetime: {
      kind: 'lookup',
      settleAfterMs: SETTLE_AFTER_MS,
      request: ({ email }, { begunAt }) => ({
        method: 'GET',
        path: PATH,
        query: toQuery({
          email: email ?? undefined,
          created: { gte: Math.floor(begunAt / 1000) - CLOCK_SKEW_SECONDS },
          limit: 100,
        }),
      }),
      found: (answer, _input, { idempotencyKey }) => findMarked(answer, idempotencyKey),
    },
  },
  limits: limitsOf('customers.create'),
  request: (input, { idempotencyKey }) => ({
    method: 'POST',
    path: PATH,
    body: { form: toForm({ ...input, metadata: marked(input.metadata, idempotencyKey) }) },
  }),
  describe: (_input, made) => `customer ${nameOf(made)}`,
})

/** https://docs.stripe.com/api/customers/update. What is left out stays; `null` takes a field away. */
export const updateCustomer = defineOperation({
  summary: 'change a customer',
  input: z.object({ id: customerId, ...fields }),
  output: customer,
  idempotency: {
    kind: 'key',
    place: { header: 'idempotency-key' },
    lifetimeMs: KEY_LIFETIME_MS,
    replaysErrors: true,
  },
  limits: limitsOf('customers.update'),
  request: ({ id, ...changes }) => ({
    method: 'POST',
    path: `${PATH}/${encodeURIComponent(id)}`,
    body: { form: toForm(changes) },
  }),
  describe: (_input, changed) => `customer ${nameOf(changed)} changed`,
})

/** https://docs.stripe.com/api/customers/list. Sees what was written a moment ago, unlike a search. */
export const listCustomers = defineOperation({
  summary: 'list customers',
  input: z.object({ email: z.string().optional(), ...pageInput }),
  output: listOf(customer),
  idempotency: { kind: 'natural' },
  classify: classifyRead,
  limits: limitsOf('customers.list'),
  request: (input) => ({ method: 'GET', path: PATH, query: toQuery(input) }),
  describe: (_input, { data }) => `${data.length} customers`,
})

/**
 * https://docs.stripe.com/api/customers/search. The index lags by up to a minute, by an hour in outages: never use it
 * to find out whether something was just written.
 */
export const searchCustomers = defineOperation({
  summary: 'search customers',
  input: z.object({
    /** Stripe's search language: `email:'ada@example.com' AND metadata['branch']:'north'`. */
    query: z.string().min(1),
    limit: z.int().min(1).max(100).optional(),
    /** `next_page` of the page before. */
    page: z.string().optional(),
  }),
  output: searchOf(customer),
  idempotency: { kind: 'natural' },
  classify: classifyRead,
  limits: limitsOf('customers.search'),
  request: (input) => ({ method: 'GET', path: `${PATH}/search`, query: toQuery(input) }),
  describe: (_input, { data }) => `${data.length} customers`,
})

function nameOf({ id, name, email }: Customer): string {
  return name ?? email ?? id
}
