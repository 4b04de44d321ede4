import { defineOperation } from 'trestle'
import { z } from 'zod'
import { page, pageQuery, tracker, trackerPage } from './contracts.ts'
import { LISTS, ORDINARY } from './limits.ts'

const PATH = '/v2/trackers'

/**
 * Follows a parcel whose label was bought elsewhere; a label bought here has a tracker already. EasyPost makes no second
 * tracker for the same code and carrier: for three months it answers with the first one. So both are needed here, since
 * a carrier that EasyPost guesses may be guessed otherwise another time.
 * Source: https://docs.easypost.com/docs/trackers and @easypost/api 8.9.0 `types/Tracker/Tracker.d.ts`, read 2026-11-22.
 */
export const createTracker = defineOperation({
  summary: 'follow a parcel',
  input: z.object({
    trackingCode: z.string().min(1),
    /** As EasyPost writes it: `USPS`, `UPS`, `FedEx`. */
    carrier: z.string().min(1),
  }),
  output: tracker,
  idempotency: { kind: 'natural' },
  limits: ORDINARY,
  request: ({ trackingCode, carrier }) => ({
    method: 'POST',
    path: PATH,
    body: { json: { tracker: { tracking_code: trackingCode, carrier } } },
  }),
  describe: ({ trackingCode }, { status }) => `parcel ${trackingCode} (${status})`,
})

export const retrieveTracker = defineOperation({
  summary: 'read where a parcel is',
  input: z.object({ id: z.string().regex(/^trk_/, 'an id of a tracker begins with trk_') }),
  output: tracker,
  idempotency: { kind: 'natural' },
  limits: ORDINARY,
  request: ({ id }) => ({ method: 'GET', path: `${PATH}/${encodeURIComponent(id)}` }),
  describe: (_input, found) => `parcel ${found.tracking_code} (${found.status})`,
})

export const listTrackers = defineOperation({
  summary: 'list the parcels that are followed',
  input: z.object({ trackingCode: z.string().optional(), carrier: z.string().optional(), ...page }),
  output: trackerPage,
  idempotency: { kind: 'natural' },
  limits: LISTS,
  request: ({ trackingCode, carrier, ...rest }) => ({
    method: 'GET',
    path: PATH,
    query: { tracking_code: trackingCode, carrier, ...pageQuery(rest) },
  }),
  describe: (_input, { trackers }) => `${trackers.length} parcel(s)`,
})
