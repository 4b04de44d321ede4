/**
 * HubSpot CRM: contacts, notes and deals, and what changes there.
 *
 * Owns: what HubSpot's API v3 takes and answers, its limits, its webhooks.
 * Leaves to others: tokens (the vault), sending and retrying (the platform).
 *
 * 1. One operation is one HTTP exchange.
 * 2. What HubSpot cannot recognise again carries a reference of ours, so that an attempt in doubt can be looked up.
 * 3. A search proves nothing about the last minutes: its index lags.
 */
import { defineConnector, signatureSchemes } from 'trestle'
import {
  findContact,
  listContacts,
  retrieveContact,
  searchContacts,
  updateContact,
  upsertContact,
} from './contacts.ts'
import { createDeal, updateDeal } from './deals.ts'
import { events, eventsOf } from './events.ts'
import { classify, limits } from './limits.ts'
import { createNote, listNotes } from './notes.ts'

/**
 * The connector. A connection authorizes by OAuth (secrets `clientId`, `clientSecret`, `refreshToken`) or with the
 * token of a private app (secret `token`). Webhooks are verified with the app's client secret.
 */
export const hubspot = defineConnector({
  name: 'hubspot',
  title: 'HubSpot',
  baseUrl: 'https://api.hubapi.com',
  auth: {
    kind: 'oauth2',
    // https://developers.hubspot.com/docs/api-reference/auth-oauth-v1/tokens/post-oauth-v1-token, read 2026-11-22
    tokenUrl: '/oauth/v1/token',
    authorizeUrl: 'https://app.hubspot.com/oauth/authorize',
    // RFC 7009 by its form; the API of 2026-03, since v1 has a DELETE with the token in its path:
    // https://developers.hubspot.com/docs/api-reference/latest/authentication/oauth-tokens/revoke-token, read 2026-11-23.
    revocationUrl: '/oauth/2026-03/token/revoke',
    // The account's number, in the token answer of late: in the schema of
    // https://developers.hubspot.com/docs/api-reference/legacy/authentication/oauth-tokens/v1/refresh-oauth-token,
    // not in the examples of the guide, read 2026-11-23. No call needs it; a second authorization must be of the same.
    account: [
      {
        from: { kind: 'token_answer', field: 'hub_id' },
        to: { kind: 'setting', name: 'hubId' },
        optional: true,
      },
    ],
    scopes: [
      'oauth',
      'crm.objects.contacts.read',
      'crm.objects.contacts.write',
      'crm.objects.deals.read',
      'crm.objects.deals.write',
    ],
    clientAuth: 'post',
    // An app that was removed from an account answers 400 with {"status": "BAD_REFRESH_TOKEN"} instead of RFC 6749's
    // error: https://integrate.hubspot.com/t/what-to-do-when-you-suddenly-get-bad-refresh-token-when-trying-to-refresh-an-access-token/5490,
    // read 2026-11-22. Newer answers have error: invalid_grant, which is read as ever.
    quirks: { errorField: 'status', grantIsOver: ['BAD_REFRESH_TOKEN'] },
    alternatives: [{ kind: 'bearer' }],
  },
  operations: {
    contacts: {
      upsert: upsertContact,
      retrieve: retrieveContact,
      find: findContact,
      list: listContacts,
      search: searchContacts,
      update: updateContact,
    },
    notes: { create: createNote, list: listNotes },
    deals: { create: createDeal, update: updateDeal },
  },
  events,
  webhooks: {
    signature: signatureSchemes.hubspotV3,
    events: eventsOf,
    // The ids are made of the body, all of which is signed.
    idIsSigned: true,
  },
  classify,
  limits,
  check: { operation: 'contacts.list', input: { limit: 1 } },
})

export type { Contact, Deal, Note } from './contracts.ts'
