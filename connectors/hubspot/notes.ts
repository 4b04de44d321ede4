import { z } from 'zod'
import { defineOperation, UsageError, type ProviderAnswer, type RequestContext } from 'trestle'
import { note, searchPage } from './contracts.ts'
import { ORDINARY } from './limits.ts'
import { markerOf } from './marker.ts'

const PATH = '/crm/v3/objects/notes'

/** HubSpot's own association of a note with a contact. Source: `AssociationTypes` of @hubspot/api-client 13.5.0. */
const NOTE_TO_CONTACT = 202
/** Longest text of a note. Source: the notes guide, read 2026-11-22. */
const BODY_LIMIT = 65_536
/** Notes of one contact that may share our second before a look-up can no longer tell. The largest page of a search. */
const LOOKUP_PAGE = 200
/**
 * How long the search index may lag. HubSpot says "a few moments" and promises nothing; others report 10 s for new
 * records and 60 s for changed ones. Five minutes is our margin.
 */
const SETTLE_AFTER_MS = 5 * 60_000

const createInput = z.object({
  /** The contact's id. */
  contact: z.string().min(1),
  /** Plain text. Line breaks are kept. */
  text: z.string().min(1),
  /** When the note stands on the timeline, ISO 8601. Default: when the step was begun. */
  at: z.iso.datetime({ offset: true }).optional(),
  /** The id of the HubSpot user who is shown as its author. */
  owner: z.string().optional(),
})
type CreateInput = z.infer<typeof createInput>

/**
 * Adds a note to a contact's timeline. HubSpot takes no idempotency key for it and notes have no unique property by
 * themselves, so the note ends with a short reference (`ref trestle-…`) that is this step's alone. After an attempt in
 * doubt a search for the contact's notes of that second tells whether ours is among them.
 * Source: https://developers.hubspot.com/docs/api-reference/crm-notes-v3/guide, read 2026-11-22.
 */
export const createNote = defineOperation({
  summary: 'add a note to a contact',
  input: createInput,
  output: note,
  limits: ORDINARY,
  idempotency: {
    kind: 'lookup',
    settleAfterMs: SETTLE_AFTER_MS,
    request: lookupRequest,
    found: findOurs,
  },
  request: (input, context) => ({
    method: 'POST',
    path: PATH,
    body: {
      json: {
        properties: {
          hs_timestamp: noteTime(input, context).toISOString(),
          hs_note_body: noteBody(input.text, context.idempotencyKey),
          ...(input.owner === undefined ? {} : { hubspot_owner_id: input.owner }),
        },
        associations: [
          {
            to: { id: input.contact },
            types: [{ associationCategory: 'HUBSPOT_DEFINED', associationTypeId: NOTE_TO_CONTACT }],
          },
        ],
      },
    },
  }),
  describe: ({ contact, text }) => `note on contact ${contact}: ${text.slice(0, 80)}`,
})

/** One page of a contact's notes, newest first. It is a search, so a note of the last moments may be missing. */
export const listNotes = defineOperation({
  summary: "list a contact's notes",
  input: z.object({
    contact: z.string().min(1),
    /** 1 to 200. Default 100. */
    limit: z.int().min(1).max(200).optional(),
    after: z.string().optional(),
  }),
  output: searchPage,
  idempotency: { kind: 'natural' },
  limits: [...ORDINARY, 'search'],
  request: ({ contact, limit = 100, after }) => ({
    method: 'POST',
    path: `${PATH}/search`,
    body: {
      json: {
        filterGroups: [{ filters: [ofContact(contact)] }],
        properties: ['hs_note_body', 'hs_timestamp', 'hubspot_owner_id'],
        sorts: [{ propertyName: 'hs_timestamp', direction: 'DESCENDING' }],
        limit,
        ...(after === undefined ? {} : { after }),
      },
    },
  }),
})

/** The contact's notes of the second in which ours was to stand. */
function lookupRequest(input: CreateInput, context: RequestContext) {
  const time = noteTime(input, context).getTime()
  return {
    method: 'POST' as const,
    path: `${PATH}/search`,
    body: {
      json: {
        filterGroups: [
          {
            filters: [
              ofContact(input.contact),
              {
                propertyName: 'hs_timestamp',
                operator: 'BETWEEN',
                value: String(time - 1000),
                highValue: String(time + 1000),
              },
            ],
          },
        ],
        properties: [
          'hs_note_body',
          'hs_timestamp',
          ...(input.owner === undefined ? [] : ['hubspot_owner_id']),
        ],
        limit: LOOKUP_PAGE,
      },
    },
  }
}

function findOurs(answer: ProviderAnswer, _input: CreateInput, context: RequestContext): unknown {
  const page = searchPage.parse(answer.json)
  const marker = markerOf(context.idempotencyKey)
  const ours = page.results.find(({ properties }) => properties['hs_note_body']?.includes(marker))
  if (!ours && page.total > page.results.length)
    throw new UsageError(
      'lookup_inconclusive',
      `The contact has ${page.total} notes of that second, more than one page of ${LOOKUP_PAGE}: whether ours is among them cannot be told. Look for "${marker}" in HubSpot.`,
    )
  return ours
}

const ofContact = (contact: string) => ({
  propertyName: 'associations.contact',
  operator: 'EQ',
  value: contact,
})

/** The same in every attempt, and in the look-up. */
function noteTime(input: CreateInput, context: RequestContext): Date {
  return new Date(input.at ?? context.begunAt)
}

function noteBody(text: string, idempotencyKey: string): string {
  const body = `${asRichText(text)}<br><br>[${markerOf(idempotencyKey)}]`
  if (body.length > BODY_LIMIT)
    throw new UsageError(
      'note_too_long',
      `The note has ${body.length} characters; HubSpot takes ${BODY_LIMIT}, markup included. Shorten the text.`,
    )
  return body
}

/** Plain text as the rich text that HubSpot stores. */
function asRichText(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll(/\r\n|\r|\n/g, '<br>')
}
