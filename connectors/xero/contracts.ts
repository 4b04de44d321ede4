/**
 * Shapes of what Xero answers and sends. Loose: unknown fields are kept, and enumerations are text, so that a new value
 * passes. Field names are Xero's. Amounts are JSON numbers.
 * Source: https://github.com/XeroAPI/Xero-OpenAPI (xero_accounting.yaml, xero-webhooks.yaml 12.0.2), read 2026-11-22.
 */
import { z } from 'zod'

const amount = z.number()

/** `/Date(1439434356790+0000)/`; read it with `timeOf`. */
const msDate = z.string()

export const contact = z.looseObject({
  ContactID: z.string(),
  Name: z.string(),
  /** `ACTIVE`, `ARCHIVED`, `GDPRREQUEST`. */
  ContactStatus: z.string().optional(),
  ContactNumber: z.string().optional(),
  AccountNumber: z.string().optional(),
  EmailAddress: z.string().optional(),
  FirstName: z.string().optional(),
  LastName: z.string().optional(),
  Phones: z.array(z.looseObject({ PhoneType: z.string(), PhoneNumber: z.string().optional() })).optional(),
  UpdatedDateUTC: msDate.optional(),
})

export const invoice = z.looseObject({
  InvoiceID: z.string(),
  /** `ACCREC`: to a customer. `ACCPAY`: from a supplier. */
  Type: z.string(),
  /** `DRAFT`, `SUBMITTED`, `AUTHORISED`, `PAID`, `VOIDED`, `DELETED`. */
  Status: z.string(),
  Contact: z.looseObject({ ContactID: z.string(), Name: z.string().optional() }),
  Total: amount,
  AmountDue: amount.optional(),
  AmountPaid: amount.optional(),
  InvoiceNumber: z.string().optional(),
  Reference: z.string().optional(),
  CurrencyCode: z.string().optional(),
  DueDate: msDate.optional(),
  LineItems: z
    .array(
      z.looseObject({
        Description: z.string().optional(),
        Quantity: amount.optional(),
        UnitAmount: amount.optional(),
        LineAmount: amount.optional(),
      }),
    )
    .optional(),
  UpdatedDateUTC: msDate.optional(),
})

export const payment = z.looseObject({
  PaymentID: z.string(),
  Amount: amount,
  /** `AUTHORISED`, or `DELETED` once it was taken back. */
  Status: z.string(),
  Date: msDate.optional(),
  Reference: z.string().optional(),
  Invoice: z.looseObject({ InvoiceID: z.string(), InvoiceNumber: z.string().optional() }).optional(),
  Account: z.looseObject({ AccountID: z.string().optional(), Code: z.string().optional() }).optional(),
  UpdatedDateUTC: msDate.optional(),
})

export const organisation = z.looseObject({
  OrganisationID: z.string(),
  Name: z.string(),
  BaseCurrency: z.string().optional(),
  CountryCode: z.string().optional(),
})

/** One organisation that somebody connected to the app. */
export const tenant = z.looseObject({
  /** Of the connection, not of the organisation. */
  id: z.string(),
  /** What the setting `tenantId` takes. */
  tenantId: z.string(),
  tenantType: z.string(),
  tenantName: z.string().nullish(),
})

/** An event of a webhook: what changed, and nothing of how. */
export const change = z.looseObject({
  resourceUrl: z.string(),
  resourceId: z.string(),
  eventDateUtc: z.string(),
  /** `CREATE` or `UPDATE`. */
  eventType: z.string(),
  /** `CONTACT`, `INVOICE`, `CREDITNOTE`, `SUBSCRIPTION`. */
  eventCategory: z.string(),
  tenantId: z.string(),
  tenantType: z.string(),
})

export type Contact = z.infer<typeof contact>
export type Invoice = z.infer<typeof invoice>
export type Payment = z.infer<typeof payment>
export type Organisation = z.infer<typeof organisation>
export type Tenant = z.infer<typeof tenant>
export type Change = z.infer<typeof change>
