import { defineOperation, money } from 'trestle'
import { z } from 'zod'
import { classifyRead } from './answers.ts'
import { dispute, metadataInput } from './contracts.ts'
import { toForm } from './form.ts'
import { KEY_LIFETIME_MS, limitsOf } from './limits.ts'

const disputeId = z.string().regex(/^(dp|du)_/, 'an id of a dispute begins with dp_ or du_')

/** https://docs.stripe.com/api/disputes/retrieve */
export const retrieveDispute = defineOperation({
  summary: 'read a dispute',
  input: z.object({ id: disputeId }),
  output: dispute,
  idempotency: { kind: 'natural' },
  classify: classifyRead,
  limits: limitsOf('disputes.retrieve'),
  request: ({ id }) => ({ method: 'GET', path: `/v1/disputes/${encodeURIComponent(id)}` }),
  describe: (_input, found) => `dispute over ${money(found.amount, found.currency)}, ${found.status}`,
})

/**
 * https://docs.stripe.com/api/disputes/update. With `submit: true` the evidence goes to the bank at once and cannot be
 * taken back; with `false` it is kept as a draft.
 */
export const updateDispute = defineOperation({
  summary: 'add evidence to a dispute',
  input: z.object({
    id: disputeId,
    /** Texts and ids of uploaded files by Stripe's names: `uncategorized_text`, `service_date`, `receipt`, … */
    evidence: z.record(z.string(), z.string()).optional(),
    submit: z.boolean(),
    metadata: metadataInput.optional(),
  }),
  output: dispute,
  idempotency: {
    kind: 'key',
    place: { header: 'idempotency-key' },
    lifetimeMs: KEY_LIFETIME_MS,
    replaysErrors: true,
  },
  limits: limitsOf('disputes.update'),
  request: ({ id, ...changes }) => ({
    method: 'POST',
    path: `/v1/disputes/${encodeURIComponent(id)}`,
    body: { form: toForm(changes) },
  }),
  describe: ({ submit }, { amount, currency }) =>
    `evidence ${submit ? 'submitted' : 'drafted'} for the dispute over ${money(amount, currency)}`,
})
