import { defineOperation } from 'trestle'
import { z } from 'zod'
import { tagPage } from './contracts.ts'
import { doneTo, doneToMember, memberOf, memberPath, page, TIMEOUT_MS } from './requests.ts'

const names = z.array(z.string().min(1)).default([])

/**
 * Puts tags on a member and takes others off. A tag that is not there yet is made. Once done, the same again changes
 * nothing. Mailchimp compares names without their case.
 * Source: https://mailchimp.com/developer/marketing/api/list-member-tags/add-or-remove-member-tags/, read 2026-11-23.
 */
export const tagMember = defineOperation({
  summary: 'put tags on a member, or take them off',
  input: z
    .object({
      ...memberOf,
      add: names,
      remove: names,
      /** Starts no automation that waits for the tag. Default: it does. */
      silently: z.boolean().optional(),
    })
    .refine(({ add, remove }) => add.length + remove.length > 0, 'name a tag to add or to remove'),
  output: doneToMember,
  idempotency: { kind: 'natural' },
  timeoutMs: TIMEOUT_MS,
  request: ({ add, remove, silently, ...member }) => ({
    method: 'POST',
    path: `${memberPath(member)}/tags`,
    body: {
      json: {
        tags: [
          ...add.map((name) => ({ name, status: 'active' })),
          ...remove.map((name) => ({ name, status: 'inactive' })),
        ],
        ...(silently === undefined ? {} : { is_syncing: silently }),
      },
    },
  }),
  answer: doneTo,
  describe: ({ email, add, remove }) =>
    `${email}: ${[...add.map((name) => `+${name}`), ...remove.map((name) => `-${name}`)].join(' ')}`,
})

export const listMemberTags = defineOperation({
  summary: 'list the tags of a member',
  input: z.object({ ...memberOf, ...page }),
  output: tagPage,
  idempotency: { kind: 'natural' },
  timeoutMs: TIMEOUT_MS,
  request: ({ count, offset, ...member }) => ({
    method: 'GET',
    path: `${memberPath(member)}/tags`,
    query: { count, offset },
  }),
  describe: (_input, { tags }) => `${tags.length} tag(s)`,
})
