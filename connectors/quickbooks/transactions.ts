import { z } from 'zod'
import type { Idempotency, OperationRequest, ProviderAnswer, RequestContext } from 'trestle'
import {
  companyRequest,
  field,
  findMarked,
  REQUEST_ID_LIFETIME_MS,
  SETTLE_AFTER_MS,
  textOf,
  transactionsSince,
} from './requests.ts'

/** What payments and invoices have in common: how they are made once, read, and voided once. */
type Kind = 'Payment' | 'Invoice'

/** What a void needs: the transaction as it was last seen. */
export const voidInput = z.object({
  id: z.string().min(1),
  /** The transaction's `SyncToken`. If it changed since, the void fails with `stale_object`: read it again. */
  syncToken: z.string().min(1),
})

/** Made once: by `requestid`, and after its lifetime by our mark in the memo. */
export function madeOnce<Input extends { readonly customer: string }, Output>(
  kind: Kind,
): Idempotency<Input, Output> {
  return {
    kind: 'key',
    place: 'request',
    lifetimeMs: REQUEST_ID_LIFETIME_MS,
    replaysErrors: true,
    afterLifetime: {
      kind: 'lookup',
      settleAfterMs: SETTLE_AFTER_MS,
      request: ({ customer }, context) => transactionsSince(kind, customer, context),
      found: (answer, _input, context) => findMarked(answer, kind, context),
    },
  }
}

/** Voided once: by `requestid`, and after its lifetime by looking whether it is void. */
export function voidedOnce<Output>(kind: Kind): Idempotency<z.infer<typeof voidInput>, Output> {
  return {
    kind: 'key',
    place: 'request',
    lifetimeMs: REQUEST_ID_LIFETIME_MS,
    replaysErrors: true,
    afterLifetime: {
      kind: 'lookup',
      settleAfterMs: SETTLE_AFTER_MS,
      request: ({ id }, context) => readRequest(kind, id, context),
      found: (answer) => {
        const found = transactionOf(answer, kind)
        return isVoid(found) ? found : undefined
      },
    },
  }
}

export function readRequest(kind: Kind, id: string, context: RequestContext): OperationRequest {
  return companyRequest(context, { method: 'GET', path: `/${kind.toLowerCase()}/${encodeURIComponent(id)}` })
}

export function transactionOf({ json }: ProviderAnswer, kind: Kind): unknown {
  return field(json, kind)
}

/** Intuit sets the amounts of a voided transaction to zero and puts "Voided" before its memo. */
function isVoid(transaction: unknown): boolean {
  return field(transaction, 'TotalAmt') === 0 && textOf(transaction, 'PrivateNote').startsWith('Voided')
}
