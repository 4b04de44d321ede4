/**
 * QuickBooks Online: customers, payments and invoices, and what changes there.
 *
 * Owns: what Intuit's Accounting API v3 takes and answers, its limits, its webhooks.
 * Leaves to others: tokens (the vault), sending and retrying (the platform).
 *
 * 1. One operation is one HTTP exchange; a change names the `SyncToken` that it was made for.
 * 2. Every write carries a `requestid`, and what it makes carries a mark, so that it can be found after Intuit has
 *    forgotten the id.
 * 3. Amounts go in as exact decimal text and are never rounded.
 */
import { defineConnector, signatureSchemes } from 'trestle'
import { query, retrieveCompany } from './company.ts'
import { createCustomer, findCustomersByEmail, retrieveCustomer } from './customers.ts'
import { events, eventsOf } from './events.ts'
import { classify, limits } from './faults.ts'
import { createInvoice, retrieveInvoice, voidInvoice } from './invoices.ts'
import { createPayment, retrievePayment, voidPayment } from './payments.ts'

/**
 * The connector. A connection authorizes by OAuth (secrets `clientId`, `clientSecret`, `refreshToken`) for one
 * company, whose id is the setting `realmId`; an
 * authorization in the browser brings it. Webhooks are verified with the app's verifier token. For a sandbox
 * company set `baseUrl` to `https://sandbox-quickbooks.api.intuit.com`.
 */
export const quickbooks = defineConnector({
  name: 'quickbooks',
  title: 'QuickBooks Online',
  baseUrl: 'https://quickbooks.api.intuit.com',
  auth: {
    kind: 'oauth2',
    // https://developer.intuit.com/.well-known/openid_configuration, by node-quickbooks 2.0.50
    tokenUrl: 'https://oauth.platform.intuit.com/oauth2/v1/tokens/bearer',
    authorizeUrl: 'https://appcenter.intuit.com/connect/oauth2',
    // Form and HTTP basic, as RFC 7009 has it: node-quickbooks 2.0.50, index.js, revokeAccess, read 2026-11-23.
    revocationUrl: 'https://developer.api.intuit.com/v2/oauth2/tokens/revoke',
    // "returned as a request parameter when the user is redirected to the provided callback URL following
    // authentication": node-quickbooks 2.0.50, index.js, read 2026-11-23.
    account: [{ from: { kind: 'callback', parameter: 'realmId' }, to: { kind: 'setting', name: 'realmId' } }],
    scopes: ['com.intuit.quickbooks.accounting'],
    clientAuth: 'basic',
    // Seconds, beside expires_in, in every answer: https://github.com/intuit/oauth-jsclient (README, token), read 2026-11-22.
    quirks: { refreshTokenLifetimeField: 'x_refresh_token_expires_in' },
  },
  settings: { realmId: 'the company id that Intuit sends with the authorization' },
  operations: {
    company: { retrieve: retrieveCompany },
    customers: {
      findByEmail: findCustomersByEmail,
      create: createCustomer,
      retrieve: retrieveCustomer,
    },
    payments: { create: createPayment, retrieve: retrievePayment, void: voidPayment },
    invoices: { create: createInvoice, retrieve: retrieveInvoice, void: voidInvoice },
    query,
  },
  events,
  webhooks: {
    signature: signatureSchemes.quickbooks,
    events: eventsOf,
    // CloudEvents have their id in the body; for the older format it is made of the body. All of it is signed.
    idIsSigned: true,
  },
  classify,
  limits,
  check: { operation: 'company.retrieve', input: {} },
})

export { changes } from './changes.ts'
export { changedEntity, type ChangedEntity } from './events.ts'
export { quoted } from './requests.ts'
export type { Change, Customer, Invoice, Payment } from './contracts.ts'
