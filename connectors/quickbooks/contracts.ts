/**
 * Shapes of what QuickBooks Online answers and sends. Loose: unknown fields are kept, and enumerations are text, so
 * that a new value passes. Field names are Intuit's.
 *
 * Amounts are JSON numbers of at most 10 digits before the point and 5 after ("10.5 format"), which a double holds
 * exactly; an amount beyond that fails the contract rather than be rounded.
 * Source: https://developer.intuit.com/app/developer/qbo/docs/api/accounting/all-entities/payment, read 2026-11-22.
 */
import { z } from 'zod'

const amount = z.number()

/** A reference to another entity: its id, and its name where Intuit gives it. */
const reference = z.looseObject({ value: z.string(), name: z.string().optional() })

/** What every entity has. `SyncToken` rises with every change; a change must name the newest one. */
const entity = z.looseObject({
  Id: z.string(),
  SyncToken: z.string(),
  MetaData: z.looseObject({ CreateTime: z.string(), LastUpdatedTime: z.string() }).optional(),
})

export const customer = z.looseObject({
  ...entity.shape,
  DisplayName: z.string(),
  Active: z.boolean().optional(),
  Balance: amount.optional(),
  GivenName: z.string().optional(),
  FamilyName: z.string().optional(),
  CompanyName: z.string().optional(),
  PrimaryEmailAddr: z.looseObject({ Address: z.string().optional() }).optional(),
  PrimaryPhone: z.looseObject({ FreeFormNumber: z.string().optional() }).optional(),
})

const linkedTransaction = z.looseObject({ TxnId: z.string(), TxnType: z.string() })

export const payment = z.looseObject({
  ...entity.shape,
  CustomerRef: reference,
  TotalAmt: amount,
  UnappliedAmt: amount.optional(),
  TxnDate: z.string().optional(),
  CurrencyRef: reference.optional(),
  PaymentRefNum: z.string().optional(),
  PrivateNote: z.string().optional(),
  Line: z
    .array(z.looseObject({ Amount: amount, LinkedTxn: z.array(linkedTransaction).optional() }))
    .optional(),
})

export const invoice = z.looseObject({
  ...entity.shape,
  CustomerRef: reference,
  TotalAmt: amount,
  Balance: amount.optional(),
  DocNumber: z.string().optional(),
  TxnDate: z.string().optional(),
  DueDate: z.string().optional(),
  CurrencyRef: reference.optional(),
  PrivateNote: z.string().optional(),
  BillEmail: z.looseObject({ Address: z.string().optional() }).optional(),
  Line: z.array(
    z.looseObject({
      Amount: amount.optional(),
      Description: z.string().optional(),
      DetailType: z.string(),
    }),
  ),
})

export const companyInfo = z.looseObject({
  Id: z.string(),
  SyncToken: z.string(),
  CompanyName: z.string(),
  Country: z.string().optional(),
})

/** One page of a query: the entities under their name, and where the page stands. Empty where nothing was found. */
export const queryResponse = z.looseObject({
  startPosition: z.number().optional(),
  maxResults: z.number().optional(),
  totalCount: z.number().optional(),
})

export type Customer = z.infer<typeof customer>
export type Payment = z.infer<typeof payment>
export type Invoice = z.infer<typeof invoice>

/** A change in Intuit's first webhook format. It has no id of its own. */
const entityChange = z.looseObject({
  name: z.string(),
  id: z.string(),
  operation: z.string(),
  lastUpdated: z.string(),
  /** The entity that was merged into this one. */
  deletedId: z.string().optional(),
})

/** A change in the CloudEvents format, which Intuit made mandatory in 2026. */
const cloudEvent = z.looseObject({
  specversion: z.string(),
  id: z.string(),
  source: z.string(),
  type: z.string(),
  time: z.string(),
  intuitentityid: z.string(),
  intuitaccountid: z.string(),
})

export type CloudEvent = z.infer<typeof cloudEvent>
type EntityChange = z.infer<typeof entityChange>
export type Change = CloudEvent | EntityChange

export function isCloudEvent(value: Readonly<Record<string, unknown>>): value is CloudEvent {
  return 'specversion' in value
}

/** A change in either format. It is checked as the one that it claims to be, so that a fault has its exact path. */
export const change = z.looseObject({}).transform((value, context): Change => {
  const checked = (isCloudEvent(value) ? cloudEvent : entityChange).safeParse(value)
  if (checked.success) return checked.data
  for (const { path, message } of checked.error.issues)
    context.addIssue({ code: 'custom', path: [...path], message })
  return z.NEVER
})
