import { defineOperation, textAt } from 'trestle'
import { z } from 'zod'
import { member } from './contracts.ts'
import { doneTo, doneToMember, memberOf, memberPath, readMember, TIMEOUT_MS } from './requests.ts'

/** Nothing of Mailchimp's documentation says that a read lags behind a write; a minute is our caution. */
const SETTLE_MS = 60_000

/**
 * Asks somebody by e-mail to confirm (`pending`): the only way back for a person who unsubscribed. Each request may
 * write another e-mail, so it is not sent again before the member was asked about: one who is pending, or has
 * confirmed meanwhile, was written to.
 * Source: https://mailchimp.com/developer/marketing/api/list-members/update-list-member/, read 2026-11-23; that `pending`
 * sends it: https://stackoverflow.com/questions/42159327.
 */
export const requestConfirmation = defineOperation({
  summary: 'ask somebody by e-mail to confirm the subscription',
  input: z.object(memberOf),
  output: member,
  idempotency: {
    kind: 'lookup',
    settleAfterMs: SETTLE_MS,
    request: readMember,
    found: ({ json }) =>
      textAt(json, 'status') === 'pending' || textAt(json, 'status') === 'subscribed' ? json : undefined,
  },
  timeoutMs: TIMEOUT_MS,
  request: (input) => ({ method: 'PATCH', path: memberPath(input), body: { json: { status: 'pending' } } }),
  describe: ({ email }) => `${email} asked to confirm`,
})

/**
 * Archives a member: no e-mails, no costs, and everything that is known is kept. The undo of `members.upsert` that added
 * one; its own undo is `members.upsert` with the status of before.
 *
 * A member who is archived already, pending or cleaned is refused (`method_not_allowed`), so a second request after a
 * lost answer would look like a failure: the member is asked about instead.
 * Source: https://mailchimp.com/developer/marketing/api/list-members/archive-list-member/, read 2026-11-23; the refusal:
 * https://github.com/amro/gibbon/issues/320.
 */
export const archiveMember = defineOperation({
  summary: 'archive a member',
  input: z.object(memberOf),
  output: doneToMember,
  idempotency: {
    kind: 'lookup',
    settleAfterMs: SETTLE_MS,
    request: readMember,
    found: ({ json }, { email }) => (textAt(json, 'status') === 'archived' ? { email } : undefined),
  },
  timeoutMs: TIMEOUT_MS,
  request: (input) => ({ method: 'DELETE', path: memberPath(input) }),
  answer: doneTo,
  describe: ({ email }) => `${email} archived`,
})

/**
 * Deletes everything that Mailchimp knows of somebody in an audience, for good: **it cannot be undone**, and the address
 * cannot be added by the API again (`forgotten_email_not_subscribed`), only by the person on a form. For requests to be
 * forgotten; `members.archive` is for everything else.
 *
 * An attempt in doubt is held for a person: afterwards a member that is gone and an audience that was never there are
 * answered alike (404), and neither is proof.
 * Source: https://mailchimp.com/developer/marketing/api/list-members/delete-list-member/, read 2026-11-23.
 */
export const deleteMemberPermanently = defineOperation({
  summary: 'delete a member for good',
  input: z.object(memberOf),
  output: doneToMember,
  idempotency: { kind: 'none' },
  timeoutMs: TIMEOUT_MS,
  request: (input) => ({ method: 'POST', path: `${memberPath(input)}/actions/delete-permanent` }),
  answer: doneTo,
  describe: ({ email }) => `${email} deleted for good`,
})
