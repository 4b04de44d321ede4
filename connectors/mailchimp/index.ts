/**
 * Mailchimp: audiences, their members, tags and events, and the campaigns, by the Marketing API 3.0 and its webhooks.
 *
 * Owns: what the API and the webhooks look like, how a lost archiving, event or confirmation is found again, the limits.
 * Leaves to others: sending, retries. The stand-in for tests is `trestle/connectors/mailchimp/twin`.
 *
 * 1. A member is named by the address, so that adding and changing are harmless to repeat.
 * 2. What writes an e-mail to somebody, or is a further event, is never sent again before it was asked about.
 * 3. What cannot be undone and cannot be asked about, the permanent deletion, is never repeated without a person.
 * 4. Nothing that a webhook says is signed: whoever knows its URL can say it.
 */
import { defineConnector } from 'trestle'
import { listCampaigns, retrieveCampaign } from './campaigns.ts'
import { classify } from './faults.ts'
import { archiveMember, deleteMemberPermanently, requestConfirmation } from './leaving.ts'
import { limits } from './limits.ts'
import { listLists, listMergeFields, ping, retrieveList } from './lists.ts'
import { addMemberEvent, listMemberEvents } from './memberEvents.ts'
import { listMembers, retrieveMember, unsubscribeMember, updateMember, upsertMember } from './members.ts'
import { listMemberTags, tagMember } from './tags.ts'
import { events, webhooks } from './webhooks.ts'

/** Where the account says which data centre it is at, and which account it is. */
const METADATA_URL = 'https://login.mailchimp.com/oauth2/metadata'

/**
 * The connector. A connection has the secret `token` (an API key) and the setting `server`, what stands after the hyphen
 * of the key; or `clientId` and `clientSecret` of an app, and a person who agrees in a browser, which brings the rest.
 */
export const mailchimp = defineConnector({
  name: 'mailchimp',
  title: 'Mailchimp',
  baseUrl: 'https://{server}.api.mailchimp.com',
  settings: { server: 'the data centre: what stands after the hyphen of the API key, such as us19' },
  // "We don't expire tokens, so you won't need to use refresh_token"; the metadata wants `Authorization: OAuth <token>`:
  // https://developer.mailchimp.com/documentation/mailchimp/guides/how-to-use-oauth2/ and
  // https://mailchimp.com/developer/marketing/guides/access-user-data-oauth-2/, read 2026-11-23. There are no scopes.
  auth: {
    kind: 'oauth2',
    authorizeUrl: 'https://login.mailchimp.com/oauth2/authorize',
    tokenUrl: 'https://login.mailchimp.com/oauth2/token',
    scopes: [],
    clientAuth: 'post',
    // The documented answer is { access_token, expires_in: 0, scope: null }.
    quirks: { noRefreshToken: true, tokenTypeMissing: true },
    account: [
      {
        from: { kind: 'request', url: METADATA_URL, scheme: 'OAuth', field: 'dc' },
        to: { kind: 'setting', name: 'server' },
      },
      // No call needs it; a second authorization must be of the same account.
      // https://developer.mailchimp.com/documentation/mailchimp/reference/root/, read 2026-11-23.
      {
        from: { kind: 'request', url: '/3.0/', field: 'account_id' },
        to: { kind: 'setting', name: 'accountId' },
        optional: true,
      },
    ],
    // "using either a Bearer Token or Basic Auth", for keys as for tokens of OAuth:
    // https://mailchimp.com/developer/release-notes/changes-when-using-multiple-authorization-methods/, read 2026-11-23.
    alternatives: [{ kind: 'bearer' }],
  },
  operations: {
    account: { ping },
    lists: { list: listLists, retrieve: retrieveList, mergeFields: listMergeFields },
    members: {
      upsert: upsertMember,
      update: updateMember,
      retrieve: retrieveMember,
      list: listMembers,
      tag: tagMember,
      tags: listMemberTags,
      addEvent: addMemberEvent,
      events: listMemberEvents,
      unsubscribe: unsubscribeMember,
      requestConfirmation,
      archive: archiveMember,
      deletePermanently: deleteMemberPermanently,
    },
    campaigns: { list: listCampaigns, retrieve: retrieveCampaign },
  },
  events,
  webhooks,
  classify,
  limits,
  check: { operation: 'account.ping', input: {} },
})

export { changes } from './changes.ts'
export { subscriberHash } from './requests.ts'
export type { Campaign, List, Member } from './contracts.ts'
