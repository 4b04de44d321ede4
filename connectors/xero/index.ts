/**
 * Xero: contacts, invoices and payments, and what changes there.
 *
 * Owns: what Xero's Accounting API 2.0 takes and answers, its limits, its webhooks.
 * Leaves to others: tokens (the vault), sending and retrying (the platform).
 *
 * 1. One operation is one HTTP exchange with one organisation, which the header `xero-tenant-id` names.
 * 2. Every write that makes something carries an `Idempotency-Key`, and what it makes carries a mark, so that it can be
 *    found after the six minutes for which Xero remembers the key.
 * 3. Amounts go in as exact decimal text and are never rounded.
 */
import { defineConnector, signatureSchemes } from 'trestle'
import {
  createContact,
  findContactsByEmail,
  listContacts,
  retrieveContact,
  updateContact,
} from './contacts.ts'
import { events, eventsOf } from './events.ts'
import { classify, limitHeaders, limits } from './faults.ts'
import { createInvoice, deleteInvoice, listInvoices, retrieveInvoice, voidInvoice } from './invoices.ts'
import { listTenants, retrieveOrganisation } from './organisation.ts'
import { createPayment, deletePayment, listPayments, retrievePayment } from './payments.ts'

/**
 * The connector. A connection authorizes by OAuth (secrets `clientId`, `clientSecret`, `refreshToken`) and works in one
 * organisation, whose id is the setting `tenantId`; an authorization in the browser brings it. Webhooks are verified with the app's webhook key.
 */
export const xero = defineConnector({
  name: 'xero',
  title: 'Xero',
  baseUrl: 'https://api.xero.com',
  auth: {
    kind: 'oauth2',
    // https://developer.xero.com/documentation/guides/oauth2/auth-flow, by xero-node 20.0.0, read 2026-11-22
    tokenUrl: 'https://identity.xero.com/connect/token',
    authorizeUrl: 'https://login.xero.com/identity/connect/authorize',
    // RFC 7009, for a refresh token; all organisations of the authorization are disconnected:
    // https://github.com/XeroAPI/xero-node/releases/tag/4.10.1, and xero-node 20.0.0 (XeroClient.revokeToken, by the
    // endpoint that https://identity.xero.com/.well-known/openid-configuration names), read 2026-11-23.
    revocationUrl: 'https://identity.xero.com/connect/revocation',
    // One authorization may open several organisations, and practices, which this API knows nothing of:
    // https://github.com/XeroAPI/Xero-OpenAPI/blob/master/xero-identity.yaml (Connections), read 2026-11-23.
    account: [
      {
        from: {
          kind: 'choice',
          url: '/connections',
          id: 'tenantId',
          name: 'tenantName',
          only: { field: 'tenantType', is: 'ORGANISATION' },
        },
        to: { kind: 'setting', name: 'tenantId' },
      },
    ],
    // Granular scopes: apps made since 2026-03-02 have no others, older ones may use them until 2027-09.
    // https://www.apideck.com/blog/xero-scopes, read 2026-11-22
    scopes: [
      'offline_access',
      'accounting.contacts',
      'accounting.invoices',
      'accounting.payments',
      'accounting.settings.read',
    ],
    clientAuth: 'basic',
    unusedGrantEnds: { afterDays: 60, source: 'https://developer.xero.com/faq/oauth2, read 2026-11-23' },
  },
  settings: { tenantId: 'the id of the organisation; tenants.list says which are connected' },
  operations: {
    organisation: { retrieve: retrieveOrganisation },
    tenants: { list: listTenants },
    contacts: {
      findByEmail: findContactsByEmail,
      create: createContact,
      update: updateContact,
      retrieve: retrieveContact,
      list: listContacts,
    },
    invoices: {
      create: createInvoice,
      retrieve: retrieveInvoice,
      list: listInvoices,
      void: voidInvoice,
      delete: deleteInvoice,
    },
    payments: {
      create: createPayment,
      retrieve: retrievePayment,
      list: listPayments,
      delete: deletePayment,
    },
  },
  events,
  webhooks: {
    signature: signatureSchemes.xero,
    events: eventsOf,
    // There is none: it is made of the body, all of which is signed.
    idIsSigned: true,
  },
  classify,
  limits,
  limitHeaders,
  check: { operation: 'organisation.retrieve', input: {} },
})

export { changes } from './changes.ts'
export { timeOf } from './requests.ts'
export type { Change, Contact, Invoice, Organisation, Payment, Tenant } from './contracts.ts'
