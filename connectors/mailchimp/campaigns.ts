import { defineOperation } from 'trestle'
import { z } from 'zod'
import { campaign, campaignPage } from './contracts.ts'
import { listId, page, TIMEOUT_MS } from './requests.ts'

const moment = z.iso.datetime({ offset: true })

/**
 * Campaigns, to be read: what was sent, when and to how many. They are written and sent in Mailchimp.
 * Source: https://mailchimp.com/developer/marketing/api/campaigns/, read 2026-11-23.
 */
export const listCampaigns = defineOperation({
  summary: 'list the campaigns',
  input: z.object({
    listId: listId.optional(),
    /** `save`, `paused`, `schedule`, `sending` or `sent`. */
    status: z.string().optional(),
    sinceSendTime: moment.optional(),
    beforeSendTime: moment.optional(),
    ...page,
  }),
  output: campaignPage,
  idempotency: { kind: 'natural' },
  timeoutMs: TIMEOUT_MS,
  request: ({ listId: list, status, sinceSendTime, beforeSendTime, count, offset }) => ({
    method: 'GET',
    path: '/3.0/campaigns',
    query: {
      list_id: list,
      status,
      since_send_time: sinceSendTime,
      before_send_time: beforeSendTime,
      count,
      offset,
    },
  }),
  describe: (_input, { campaigns }) => `${campaigns.length} campaign(s)`,
})

export const retrieveCampaign = defineOperation({
  summary: 'read a campaign',
  input: z.object({ id: z.string().min(1) }),
  output: campaign,
  idempotency: { kind: 'natural' },
  timeoutMs: TIMEOUT_MS,
  request: ({ id }) => ({ method: 'GET', path: `/3.0/campaigns/${encodeURIComponent(id)}` }),
  describe: (_input, { settings, status }) => `campaign ${settings?.subject_line ?? ''} (${status})`,
})
