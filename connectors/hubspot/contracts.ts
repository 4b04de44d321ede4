/**
 * Shapes of what HubSpot answers and sends. Loose: unknown fields are kept, and values that HubSpot calls
 * enumerations are text, so that a new one passes.
 *
 * Source: https://developers.hubspot.com/docs/api-reference/crm-contacts-v3 and …/crm-notes-v3/guide, read 2026-11-22.
 */
import { z } from 'zod'

/** HubSpot writes every property as text; an empty one is `null`. */
const properties = z.record(z.string(), z.string().nullable())

/** What a caller may set. Numbers and dates are written as text, as HubSpot returns them: `'19.99'`, `'2026-11-22'`. */
export const writableProperties = z.record(z.string(), z.string())

/** An object of the CRM: a contact, a note, a deal. */
const crmObject = z.looseObject({
  id: z.string(),
  properties,
  createdAt: z.string(),
  updatedAt: z.string(),
  archived: z.boolean().optional(),
})

export const contact = z.looseObject(crmObject.shape)
/** A contact as `contacts.upsert` gives it: `new` tells whether it was created. */
export const upsertedContact = z.looseObject({ ...crmObject.shape, new: z.boolean().optional() })
export const note = z.looseObject(crmObject.shape)
export const deal = z.looseObject(crmObject.shape)

export type Contact = z.infer<typeof contact>
export type Note = z.infer<typeof note>
export type Deal = z.infer<typeof deal>

const paging = z.looseObject({ next: z.looseObject({ after: z.string() }).optional() }).optional()

/** One page of a search. `paging.next.after` is the cursor of the next page. */
export const searchPage = z.looseObject({ total: z.number(), results: z.array(crmObject), paging })

/** One page of a list, which does not say how many there are in all. */
export const listPage = z.looseObject({ results: z.array(crmObject), paging })

/** A search as HubSpot takes it; groups are joined by OR, filters within a group by AND. */
export const search = z.object({
  filterGroups: z
    .array(
      z.object({
        filters: z.array(
          z.object({
            propertyName: z.string(),
            /** `EQ`, `NEQ`, `GT`, `GTE`, `LT`, `LTE`, `BETWEEN`, `IN`, `NOT_IN`, `HAS_PROPERTY`, `CONTAINS_TOKEN`, … */
            operator: z.string(),
            value: z.string().optional(),
            highValue: z.string().optional(),
            values: z.array(z.string()).optional(),
          }),
        ),
      }),
    )
    .optional(),
  /** Free text, looked for in the searchable properties. At most 3,000 characters. */
  query: z.string().max(3000).optional(),
  sorts: z
    .array(z.object({ propertyName: z.string(), direction: z.enum(['ASCENDING', 'DESCENDING']) }))
    .optional(),
  properties: z.array(z.string()).optional(),
  /** 1 to 200; HubSpot's default is 10. */
  limit: z.int().min(1).max(200).optional(),
  after: z.string().optional(),
})

/** What every webhook event has. Ids are numbers here, while the API writes them as text. */
const webhookEvent = z.looseObject({
  subscriptionType: z.string(),
  eventId: z.union([z.number(), z.bigint(), z.string()]),
  portalId: z.union([z.number(), z.bigint()]),
  occurredAt: z.number(),
  attemptNumber: z.number().optional(),
  changeSource: z.string().optional(),
})
const objectId = z.union([z.number(), z.bigint()])

export const objectEvent = z.looseObject({ ...webhookEvent.shape, objectId })
export const propertyEvent = z.looseObject({
  ...objectEvent.shape,
  propertyName: z.string(),
  propertyValue: z.string().nullable().optional(),
})
export const mergeEvent = z.looseObject({
  ...webhookEvent.shape,
  primaryObjectId: objectId,
  mergedObjectIds: z.array(objectId),
})
export const associationEvent = z.looseObject({
  ...webhookEvent.shape,
  fromObjectId: objectId,
  toObjectId: objectId,
  associationType: z.string(),
  associationRemoved: z.boolean(),
})
