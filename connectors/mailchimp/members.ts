import { defineOperation } from 'trestle'
import { z } from 'zod'
import { member, memberPage } from './contracts.ts'
import { listId, listPath, memberOf, memberPath, page, TIMEOUT_MS } from './requests.ts'

const moment = z.iso.datetime({ offset: true })

/** What may be said of a member. What is left out stays as it is. */
const fields = {
  /** By the tags of `lists.mergeFields`: `{ FNAME: 'Ada' }`. Fields that are not named stay as they are. */
  mergeFields: z.record(z.string(), z.json()).optional(),
  emailType: z.enum(['html', 'text']).optional(),
  /** Such as `de`. */
  language: z.string().optional(),
  vip: z.boolean().optional(),
  /** Takes the member even where a required field is missing. */
  skipMergeValidation: z.boolean().optional(),
}

/** Statuses that write nobody an e-mail. `pending` does: `members.requestConfirmation`. */
const status = z.enum(['subscribed', 'unsubscribed', 'transactional'])

/**
 * Adds a member, or changes the one with this address. Once done, the same again changes nothing: the member is named by
 * the address, and `statusIfNew` counts only where there was none, so that a confirmation is asked for once.
 *
 * Somebody who unsubscribed, or was permanently deleted, cannot be subscribed this way: `member_in_compliance_state`,
 * `forgotten_email_not_subscribed`.
 * Source: https://mailchimp.com/developer/marketing/api/list-members/add-or-update-list-member/, read 2026-11-23.
 */
export const upsertMember = defineOperation({
  summary: 'add or change a member of an audience',
  input: z.object({
    ...memberOf,
    /** What a new member becomes: `pending` asks by e-mail first (double opt-in). */
    statusIfNew: z.enum(['subscribed', 'pending', 'unsubscribed', 'transactional']),
    /** What a known member becomes. Default: as it is. An archived member comes back by it. */
    status: status.optional(),
    ...fields,
  }),
  output: member,
  idempotency: { kind: 'natural' },
  timeoutMs: TIMEOUT_MS,
  request: ({ listId: list, email, statusIfNew, ...rest }) => ({
    method: 'PUT',
    path: memberPath({ listId: list, email }),
    query: { skip_merge_validation: rest.skipMergeValidation },
    body: { json: { email_address: email, status_if_new: statusIfNew, ...written(rest) } },
  }),
  describe: ({ email }, done) => `member ${email} (${done.status})`,
})

/** Changes what is known of a member, who must be there. */
export const updateMember = defineOperation({
  summary: 'change a member of an audience',
  input: z.object({ ...memberOf, status: status.optional(), ...fields }),
  output: member,
  idempotency: { kind: 'natural' },
  timeoutMs: TIMEOUT_MS,
  request: ({ listId: list, email, ...rest }) => ({
    method: 'PATCH',
    path: memberPath({ listId: list, email }),
    query: { skip_merge_validation: rest.skipMergeValidation },
    body: { json: written(rest) },
  }),
  describe: ({ email }, done) => `member ${email} (${done.status})`,
})

/**
 * Takes a member off the audience's e-mails. The member stays. `members.update` with the status of before takes it back,
 * unless the person left by themselves, too: then only `members.requestConfirmation` helps.
 */
export const unsubscribeMember = defineOperation({
  summary: 'unsubscribe a member',
  input: z.object(memberOf),
  output: member,
  idempotency: { kind: 'natural' },
  timeoutMs: TIMEOUT_MS,
  request: (input) => ({
    method: 'PATCH',
    path: memberPath(input),
    body: { json: { status: 'unsubscribed' } },
  }),
  describe: ({ email }) => `${email} unsubscribed`,
})

export const retrieveMember = defineOperation({
  summary: 'read a member of an audience',
  input: z.object(memberOf),
  output: member,
  idempotency: { kind: 'natural' },
  timeoutMs: TIMEOUT_MS,
  request: (input) => ({ method: 'GET', path: memberPath(input) }),
  describe: ({ email }, found) => `member ${email} (${found.status})`,
})

/**
 * Members of an audience; with `sinceLastChanged` those that changed after then, longest unchanged first, which is how
 * missed webhooks are found: see `changes`.
 * Source: https://mailchimp.com/developer/marketing/api/list-members/list-members-info/ and
 * @mailchimp/mailchimp_marketing 3.0.80 `getListMembersInfo`, read 2026-11-23.
 */
export const listMembers = defineOperation({
  summary: 'list the members of an audience',
  input: z.object({
    listId,
    status: z
      .enum(['subscribed', 'unsubscribed', 'cleaned', 'pending', 'transactional', 'archived'])
      .optional(),
    sinceLastChanged: moment.optional(),
    beforeLastChanged: moment.optional(),
    ...page,
  }),
  output: memberPage,
  idempotency: { kind: 'natural' },
  timeoutMs: TIMEOUT_MS,
  request: ({ listId: list, sinceLastChanged, beforeLastChanged, count, offset, ...rest }) => ({
    method: 'GET',
    path: `${listPath(list)}/members`,
    query: {
      status: rest.status,
      since_last_changed: sinceLastChanged,
      before_last_changed: beforeLastChanged,
      sort_field: 'last_changed',
      sort_dir: 'ASC',
      count,
      offset,
    },
  }),
  describe: (_input, { members }) => `${members.length} member(s)`,
})

interface Written {
  readonly status?: string | undefined
  readonly mergeFields?: unknown
  readonly emailType?: string | undefined
  readonly language?: string | undefined
  readonly vip?: boolean | undefined
}

/** As Mailchimp writes it; what is not given is left out. */
function written({ status: wanted, mergeFields, emailType, language, vip }: Written) {
  return {
    ...(wanted === undefined ? {} : { status: wanted }),
    ...(mergeFields === undefined ? {} : { merge_fields: mergeFields }),
    ...(emailType === undefined ? {} : { email_type: emailType }),
    ...(language === undefined ? {} : { language }),
    ...(vip === undefined ? {} : { vip }),
  }
}
