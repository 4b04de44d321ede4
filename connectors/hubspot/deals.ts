import { z } from 'zod'
import { defineOperation, UsageError, type ProviderAnswer, type RequestContext } from 'trestle'
import { deal, searchPage, writableProperties } from './contracts.ts'
import { ORDINARY } from './limits.ts'
import { markerOf } from './marker.ts'

const PATH = '/crm/v3/objects/deals'

/** HubSpot's own association of a deal with a contact. Source: `AssociationTypes` of @hubspot/api-client 13.5.0. */
const DEAL_TO_CONTACT = 3
/** See notes.ts: the margin for the search index. */
const SETTLE_AFTER_MS = 5 * 60_000
/** HubSpot's clock may be behind ours by this much. */
const CLOCK_MARGIN_MS = 10 * 60_000
const LOOKUP_PAGE = 200
const DEAL_PROPERTIES = ['dealname', 'dealstage', 'pipeline', 'amount', 'description']

const createInput = z.object({
  name: z.string().min(1),
  /** The internal name of a stage of the pipeline, such as `'appointmentscheduled'`. */
  stage: z.string().min(1),
  /** The internal name of the pipeline. Default: the account's. */
  pipeline: z.string().optional(),
  /** Exact decimal text: `'19.99'`. */
  amount: z
    .string()
    .regex(/^-?\d+(\.\d+)?$/)
    .optional(),
  /** The id of the contact that it belongs to. */
  contact: z.string().optional(),
  description: z.string().optional(),
  properties: writableProperties.optional(),
})
type CreateInput = z.infer<typeof createInput>

/**
 * Creates a deal. Deals have no unique property of their own and HubSpot takes no idempotency key, so the description
 * ends with a reference that is this step's alone; after an attempt in doubt, deals of that name made since are
 * searched for it.
 * Source: https://developers.hubspot.com/docs/api-reference/crm-deals-v3/guide, read 2026-11-22.
 */
export const createDeal = defineOperation({
  summary: 'create a deal',
  input: createInput,
  output: deal,
  limits: ORDINARY,
  idempotency: {
    kind: 'lookup',
    settleAfterMs: SETTLE_AFTER_MS,
    request: lookupRequest,
    found: findOurs,
  },
  request: (input, { idempotencyKey }) => ({
    method: 'POST',
    path: PATH,
    body: {
      json: {
        properties: {
          ...input.properties,
          dealname: input.name,
          dealstage: input.stage,
          ...(input.pipeline === undefined ? {} : { pipeline: input.pipeline }),
          ...(input.amount === undefined ? {} : { amount: input.amount }),
          description: `${input.description ?? ''}\n[${markerOf(idempotencyKey)}]`.trimStart(),
        },
        ...(input.contact === undefined
          ? {}
          : {
              associations: [
                {
                  to: { id: input.contact },
                  types: [{ associationCategory: 'HUBSPOT_DEFINED', associationTypeId: DEAL_TO_CONTACT }],
                },
              ],
            }),
      },
    },
  }),
  describe: ({ name, amount }) => (amount === undefined ? `deal ${name}` : `deal ${name} over ${amount}`),
})

/** Sets properties of an existing deal, such as its stage. */
export const updateDeal = defineOperation({
  summary: 'update a deal',
  input: z.object({ id: z.string().min(1), properties: writableProperties }),
  output: deal,
  idempotency: { kind: 'natural' },
  limits: ORDINARY,
  request: ({ id, properties }) => ({
    method: 'PATCH',
    path: `${PATH}/${encodeURIComponent(id)}`,
    body: { json: { properties } },
  }),
  describe: ({ id }, made) => `deal ${made.properties['dealname'] ?? id} updated`,
})

function lookupRequest(input: CreateInput, { begunAt }: RequestContext) {
  return {
    method: 'POST' as const,
    path: `${PATH}/search`,
    body: {
      json: {
        filterGroups: [
          {
            filters: [
              { propertyName: 'dealname', operator: 'EQ', value: input.name },
              { propertyName: 'createdate', operator: 'GTE', value: String(begunAt - CLOCK_MARGIN_MS) },
            ],
          },
        ],
        properties: [...DEAL_PROPERTIES, ...Object.keys(input.properties ?? {})],
        limit: LOOKUP_PAGE,
      },
    },
  }
}

function findOurs(answer: ProviderAnswer, _input: CreateInput, { idempotencyKey }: RequestContext): unknown {
  const page = searchPage.parse(answer.json)
  const marker = markerOf(idempotencyKey)
  const ours = page.results.find(({ properties }) => properties['description']?.includes(marker))
  if (!ours && page.total > page.results.length)
    throw new UsageError(
      'lookup_inconclusive',
      `There are ${page.total} deals of that name made since, more than one page of ${LOOKUP_PAGE}: whether ours is among them cannot be told. Look for "${marker}" in HubSpot.`,
    )
  return ours
}
