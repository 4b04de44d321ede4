import { z } from 'zod'
import { defineOperation, type ProviderAnswer, type RequestContext } from 'trestle'
import { customer } from './contracts.ts'
import {
  companyRequest,
  field,
  inconclusive,
  marked,
  markerOf,
  queried,
  queryRequest,
  quoted,
  REQUEST_ID_LIFETIME_MS,
  SETTLE_AFTER_MS,
  textOf,
  writeRequest,
} from './requests.ts'

const createInput = z.object({
  /** Unique among customers, vendors and employees. At most 500 characters, without `:`, tab or line break. */
  displayName: z
    .string()
    .min(1)
    .max(500)
    .regex(/^[^:\t\n\r]+$/),
  email: z.string().optional(),
  phone: z.string().optional(),
  givenName: z.string().max(100).optional(),
  familyName: z.string().max(100).optional(),
  company: z.string().max(100).optional(),
  /** ISO 4217; only in companies that use several currencies, and never changed later. */
  currency: z.string().length(3).optional(),
  /** For the books only, at most 1,950 characters. Our reference is added at its end. */
  notes: z.string().max(1950).optional(),
})

/**
 * The active customers with this e-mail address, oldest first; often one, sometimes none or several, since
 * QuickBooks does not keep addresses unique.
 */
export const findCustomersByEmail = defineOperation({
  summary: 'look for customers by e-mail address',
  input: z.object({ email: z.string().min(3) }),
  output: z.array(customer),
  idempotency: { kind: 'natural' },
  request: ({ email }, context) =>
    queryRequest(
      context,
      `select * from Customer where PrimaryEmailAddr = ${quoted(email)} and Active = true orderby Id asc startposition 1 maxresults 100`,
    ),
  answer: (answer) => queried(answer, 'Customer'),
  describe: ({ email }, found) => `${found.length} customers with ${email}`,
})

/**
 * Creates a customer. A name that is taken fails with `duplicate_name` (6240), so that even a repeated request never
 * makes a second one.
 */
export const createCustomer = defineOperation({
  summary: 'create a customer',
  input: createInput,
  output: customer,
  idempotency: {
    kind: 'key',
    place: 'request',
    lifetimeMs: REQUEST_ID_LIFETIME_MS,
    replaysErrors: true,
    afterLifetime: {
      kind: 'lookup',
      settleAfterMs: SETTLE_AFTER_MS,
      request: ({ displayName }, context) =>
        queryRequest(context, `select * from Customer where DisplayName = ${quoted(displayName)}`),
      found: findOurs,
    },
  },
  request: (input, context) =>
    writeRequest(context, {
      path: '/customer',
      json: {
        DisplayName: input.displayName,
        ...(input.givenName === undefined ? {} : { GivenName: input.givenName }),
        ...(input.familyName === undefined ? {} : { FamilyName: input.familyName }),
        ...(input.company === undefined ? {} : { CompanyName: input.company }),
        Notes: marked(input.notes, context.idempotencyKey),
        ...(input.email === undefined ? {} : { PrimaryEmailAddr: { Address: input.email } }),
        ...(input.phone === undefined ? {} : { PrimaryPhone: { FreeFormNumber: input.phone } }),
        ...(input.currency === undefined ? {} : { CurrencyRef: { value: input.currency } }),
      },
    }),
  answer: ({ json }) => field(json, 'Customer'),
  describe: (_input, made) => `customer ${made.DisplayName} created`,
})

/** Reads a customer by id. */
export const retrieveCustomer = defineOperation({
  summary: 'read a customer',
  input: z.object({ id: z.string().min(1) }),
  output: customer,
  idempotency: { kind: 'natural' },
  request: ({ id }, context) =>
    companyRequest(context, { method: 'GET', path: `/customer/${encodeURIComponent(id)}` }),
  answer: ({ json }) => field(json, 'Customer'),
  describe: (_input, found) => `customer ${found.DisplayName}`,
})

/**
 * The customer of this name, if it carries this step's mark. Another one is not ours: the step is then sent again and
 * fails with `duplicate_name`, which is the truth.
 */
function findOurs(answer: ProviderAnswer, _input: unknown, { idempotencyKey }: RequestContext): unknown {
  const found = queried(answer, 'Customer')
  if (!Array.isArray(found)) throw inconclusive()
  return found.find((one) => textOf(one, 'Notes').includes(markerOf(idempotencyKey))) as unknown
}
