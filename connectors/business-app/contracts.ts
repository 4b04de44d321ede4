import { z } from 'zod'

/**
 * What the business's own app and Trestle say to each other. This is our own contract: an app that wants to be driven
 * by flows implements the few routes in README.md.
 */

/** ISO 8601 with a zone: `2026-11-22T09:00:00+01:00`. */
const dateTime = z.iso.datetime({ offset: true })

export const appointment = z.looseObject({
  /** The app's own id. */
  id: z.string().min(1),
  customer: z.looseObject({
    name: z.string(),
    email: z.string(),
    /** E.164: `+15550100`. */
    phone: z.string().nullish(),
  }),
  service: z.string(),
  startsAt: dateTime,
  endsAt: dateTime,
  price: z.looseObject({
    /** Minor units: cents. */
    amount: z.int().nonnegative(),
    /** ISO 4217. */
    currency: z.string().length(3),
  }),
  staff: z.string().nullish(),
  notes: z.string().nullish(),
})
export type Appointment = z.infer<typeof appointment>

/** A record that the app keeps: its fields are the app's own. */
export const record = z.looseObject({
  id: z.string().min(1),
  collection: z.string().min(1),
  /** The `webhook-id` of the request that created it; `null` where the app did. */
  key: z.string().nullable(),
  fields: z.record(z.string(), z.unknown()),
  createdAt: dateTime,
  updatedAt: dateTime,
})
export type BusinessRecord = z.infer<typeof record>

export const recordList = z.looseObject({ records: z.array(record) })

/** Plain JSON by name. */
export const fields = z.record(z.string(), z.unknown())

/** Names of collections: `visits`, `follow-ups`. */
export const collection = z.string().regex(/^[a-z][a-z0-9-]*$/, 'lower-case letters, digits and hyphens')

export const recordId = z.string().min(1).max(200)
