import { z } from 'zod'
import { defineOperation, type Classification, type ProviderAnswer } from 'trestle'
import { contact, listPage, search, searchPage, upsertedContact, writableProperties } from './contracts.ts'
import { classify, ORDINARY } from './limits.ts'

const PATH = '/crm/v3/objects/contacts'

/** Properties that reads ask for; HubSpot gives only a few by itself. */
const READ_PROPERTIES = ['email', 'firstname', 'lastname', 'phone', 'company', 'lifecyclestage']

const email = z.string().min(3)
const readProperties = z.array(z.string()).optional()
const idOrEmail = z.union([z.object({ id: z.string().min(1) }), z.object({ email })])

/**
 * Creates the contact with this e-mail address, or updates the one that has it. HubSpot keeps addresses unique, so
 * repeating is harmless; where two calls create the same contact at once, HubSpot answers one of them with 409, and
 * the next attempt finds the contact.
 * Source: https://developers.hubspot.com/docs/api-reference/crm-contacts-v3/batch/post-crm-v3-objects-contacts-batch-upsert,
 * read 2026-11-22.
 */
export const upsertContact = defineOperation({
  summary: 'create or update a contact',
  input: z.object({ email, properties: writableProperties.optional() }),
  output: upsertedContact,
  idempotency: { kind: 'natural' },
  limits: ORDINARY,
  request: ({ email, properties }) => ({
    method: 'POST',
    path: `${PATH}/batch/upsert`,
    body: { json: { inputs: [{ idProperty: 'email', id: email, properties: { ...properties, email } }] } },
  }),
  answer: ({ json }) => firstResult(json),
  classify: (answer, now): Classification | undefined =>
    answer.status === 409
      ? { as: 'retry', code: 'conflict', reason: 'Another call was creating the same contact.' }
      : classify(answer, now),
  describe: ({ email }, made) => `contact ${email} ${made.new ? 'created' : 'updated'}`,
})

/** Sets properties of an existing contact. What is not named stays as it is. */
export const updateContact = defineOperation({
  summary: 'update a contact',
  input: z.intersection(idOrEmail, z.object({ properties: writableProperties })),
  output: contact,
  idempotency: { kind: 'natural' },
  limits: ORDINARY,
  request: (input) => ({
    method: 'PATCH',
    ...contactAddress(input),
    body: { json: { properties: input.properties } },
  }),
  describe: (_input, made) => `contact ${made.properties['email'] ?? made.id} updated`,
})

/** Reads a contact by id or e-mail address. One that is not there is a failure; see {@link findContact}. */
export const retrieveContact = defineOperation({
  summary: 'read a contact',
  input: z.intersection(idOrEmail, z.object({ properties: readProperties })),
  output: contact,
  idempotency: { kind: 'natural' },
  limits: ORDINARY,
  request: (input) => readRequest(input),
  describe: (_input, found) => `contact ${found.properties['email'] ?? found.id}`,
})

/**
 * Reads a contact by id or e-mail address; `null` where there is none. Unlike a search it sees what was written a
 * moment ago.
 */
export const findContact = defineOperation({
  summary: 'look for a contact',
  input: z.intersection(idOrEmail, z.object({ properties: readProperties })),
  output: contact.nullable(),
  idempotency: { kind: 'natural' },
  limits: ORDINARY,
  request: (input) => readRequest(input),
  answer: ({ status, json }) => (status === 404 ? null : json),
  classify: (answer, now) => (isMissingObject(answer) ? { as: 'succeeded' } : classify(answer, now)),
})

/** One page of all contacts, oldest first. Not a search: it sees what was written a moment ago. */
export const listContacts = defineOperation({
  summary: 'list contacts',
  input: z.object({
    /** 1 to 100. Default 100. */
    limit: z.int().min(1).max(100).optional(),
    /** `paging.next.after` of the page before. */
    after: z.string().optional(),
    properties: readProperties,
  }),
  output: listPage,
  idempotency: { kind: 'natural' },
  limits: ORDINARY,
  request: ({ limit = 100, after, properties }) => ({
    method: 'GET',
    path: PATH,
    query: { limit, after, properties: namesOf(properties) },
  }),
})

/**
 * One page of a search over contacts. The index lags: what was written a moment ago may be missing, so "not found"
 * proves nothing. Five searches a second for the whole account, at most 10,000 results.
 * Source: https://developers.hubspot.com/docs/api-reference/2026-03/crm/search-the-crm, read 2026-11-22.
 */
export const searchContacts = defineOperation({
  summary: 'search contacts',
  input: search,
  output: searchPage,
  idempotency: { kind: 'natural' },
  limits: [...ORDINARY, 'search'],
  request: (input) => ({
    method: 'POST',
    path: `${PATH}/search`,
    body: { json: { properties: READ_PROPERTIES, ...input } },
  }),
})

function readRequest(input: z.infer<typeof idOrEmail> & { properties?: string[] | undefined }) {
  const { path, query } = contactAddress(input)
  return { method: 'GET' as const, path, query: { ...query, properties: namesOf(input.properties) } }
}

function namesOf(wanted: readonly string[] = []): string {
  return [...new Set([...READ_PROPERTIES, ...wanted])].join(',')
}

function contactAddress(input: z.infer<typeof idOrEmail>) {
  return 'id' in input
    ? { path: `${PATH}/${encodeURIComponent(input.id)}` }
    : { path: `${PATH}/${encodeURIComponent(input.email)}`, query: { idProperty: 'email' } }
}

/** A 404 in HubSpot's own words; a wrong base URL answers 404 too, with a page instead. */
function isMissingObject({ status, json }: ProviderAnswer): boolean {
  return (
    status === 404 &&
    typeof json === 'object' &&
    json !== null &&
    'status' in json &&
    json['status'] === 'error'
  )
}

/** The one result of a batch of one; `undefined`, which no contract takes, where there is none. */
function firstResult(json: unknown): unknown {
  if (json === null || typeof json !== 'object' || !('results' in json)) return undefined
  return Array.isArray(json.results) ? (json.results[0] as unknown) : undefined
}
