import { defineOperation, money } from 'trestle'
import { z } from 'zod'
import { classifyRead } from './answers.ts'
import { invoice, subscription } from './contracts.ts'
import { limitsOf } from './limits.ts'

/** https://docs.stripe.com/api/subscriptions/retrieve */
export const retrieveSubscription = defineOperation({
  summary: 'read a subscription',
  input: z.object({ id: z.string().regex(/^sub_/, 'an id of a subscription begins with sub_') }),
  output: subscription,
  idempotency: { kind: 'natural' },
  classify: classifyRead,
  limits: limitsOf('subscriptions.retrieve'),
  request: ({ id }) => ({ method: 'GET', path: `/v1/subscriptions/${encodeURIComponent(id)}` }),
  describe: ({ id }, found) => `subscription ${id}, ${found.status}`,
})

/** https://docs.stripe.com/api/invoices/retrieve */
export const retrieveInvoice = defineOperation({
  summary: 'read an invoice',
  input: z.object({ id: z.string().regex(/^in_/, 'an id of an invoice begins with in_') }),
  output: invoice,
  idempotency: { kind: 'natural' },
  classify: classifyRead,
  limits: limitsOf('invoices.retrieve'),
  request: ({ id }) => ({ method: 'GET', path: `/v1/invoices/${encodeURIComponent(id)}` }),
  describe: ({ id }, found) => `invoice ${found.number ?? id} over ${money(found.total, found.currency)}`,
})
