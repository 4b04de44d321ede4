import { definePollSource } from 'trestle'
import { z } from 'zod'
import { member } from './contracts.ts'
import { listMembers } from './members.ts'

const PAGE_SIZE = 500
const changed = z.looseObject({ ...member.shape, last_changed: z.iso.datetime({ offset: true }) })

export const changes = {
  /**
   * Members of an audience that are new or changed, longest unchanged first: for what webhooks missed, which Mailchimp
   * gives up after 75 minutes, and for those who have no public address. Mailchimp tells whole seconds, and says "after":
   * so it is asked from a second earlier, and what was seen before is known by its time. Somebody who was archived or
   * permanently deleted is not in the list; the webhook `unsubscribe` with `action: 'delete'` tells that.
   */
  members: (listId: string) =>
    definePollSource({
      summary: 'a member is new or changed',
      operation: listMembers,
      input: ({ since, after = 0 }) => ({
        listId,
        ...(since === undefined ? {} : { sinceLastChanged: secondBefore(since) }),
        count: PAGE_SIZE,
        offset: Number(after),
      }),
      items: '/members',
      item: changed,
      id: ({ list_id: list, id }) => `${list} ${id}`,
      version: ({ last_changed: at }) => at,
      changedAt: ({ last_changed: at }) => at,
      order: 'changedAt',
      next: (_page, { after = 0 }, count) => (count < PAGE_SIZE ? undefined : Number(after) + count),
      describe: ({ email_address: email, status }) => `member ${email} (${status})`,
    }),
} as const

function secondBefore(moment: string): string {
  return new Date(Date.parse(moment) - 1000).toISOString()
}
