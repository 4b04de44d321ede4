import { signPayload, type OutgoingWebhook, type SourceDelivery } from 'trestle/testing'
import { hashOf, type TwinAudience, type TwinCampaign, type TwinMember } from './twinAudience.ts'
import type { By, MemberChange } from './twinMembers.ts'
import { webhooks } from './webhooks.ts'

const MINUTE_MS = 60_000
/** "Retries happen at increasing intervals over the course of 75 minutes"; the intervals are a guess. */
export const RETRIES_MS = [1, 4, 10, 20, 40].map((minutes) => minutes * MINUTE_MS)
const FORM = 'application/x-www-form-urlencoded'

type Fields = Readonly<Record<string, string>>

interface Subscriber {
  readonly url: string
  readonly secret: string
  /** Whether it hears of what the API did. Mailchimp advises against it: an echo of one's own writes. */
  readonly api: boolean
}

interface TellerParts {
  readonly now: () => number
  readonly send: (webhook: OutgoingWebhook) => Promise<SourceDelivery | undefined>
}

/** Sends the webhooks of audiences. Each resolves after the first attempt. */
export function createTeller({ now, send }: TellerParts) {
  const subscribers: Subscriber[] = []

  const tell = async (type: string, data: Fields, by: By | 'mailchimp'): Promise<void> => {
    const firedAt = new Date(now()).toISOString().replace('T', ' ').slice(0, 19)
    const fields = Object.entries(data).map(([name, value]): [string, string] => [`data${name}`, value])
    const body = new URLSearchParams([['type', type], ['fired_at', firedAt], ...fields]).toString()
    await Promise.all(
      subscribers
        .filter(({ api }) => api || by !== 'api')
        .map(({ url, secret }) => send({ ...addressed(url, secret), body, contentType: FORM })),
    )
  }

  return {
    subscribe(url: string, secret: string, { api = false }: { readonly api?: boolean } = {}): void {
      subscribers.push({ url, secret, api })
    },
    async validate(url: string, secret: string): Promise<boolean> {
      const { url: whole } = signed(url, secret)
      const asked = await send({
        url: whole,
        method: 'GET',
        body: '',
        headers: { 'user-agent': 'MailChimp.com WebHook Validator' },
      })
      return asked?.state === 'delivered'
    },
    async change(audience: TwinAudience, change: MemberChange, by: By): Promise<void> {
      if (change.kind === 'none') return
      const { member, before } = change
      const turned = before?.status !== member.status
      if (turned && member.status === 'subscribed')
        await tell('subscribe', { ...personIn(audience, member), '[ip_signup]': '10.20.10.30' }, by)
      else if (turned && member.status === 'unsubscribed')
        await tell(
          'unsubscribe',
          { '[action]': 'unsub', '[reason]': 'manual', ...personIn(audience, member) },
          by,
        )
      else if (!turned) await tell('profile', personIn(audience, member), by)
    },
    removed: (audience: TwinAudience, member: TwinMember, by: By) =>
      tell('unsubscribe', { '[action]': 'delete', '[reason]': 'manual', ...personIn(audience, member) }, by),
    async readdressed(audience: TwinAudience, before: TwinMember, after: TwinMember): Promise<void> {
      await tell(
        'upemail',
        {
          '[list_id]': audience.list.id,
          '[new_id]': after.unique_email_id,
          '[new_email]': after.email_address,
          '[old_email]': before.email_address,
        },
        'user',
      )
      await tell('profile', personIn(audience, after), 'user')
    },
    cleaned: (audience: TwinAudience, member: TwinMember, reason: string) =>
      tell(
        'cleaned',
        {
          '[list_id]': audience.list.id,
          '[campaign_id]': hashOf(reason).slice(0, 10),
          '[reason]': reason,
          '[email]': member.email_address,
        },
        'mailchimp',
      ),
    campaign: (campaign: TwinCampaign) =>
      tell(
        'campaign',
        {
          '[id]': campaign.id,
          '[subject]': campaign.settings.subject_line,
          '[status]': campaign.status,
          '[reason]': '',
          '[list_id]': campaign.recipients.list_id,
        },
        'mailchimp',
      ),
  }
}

function signed(url: string, secret: string) {
  const { signature } = webhooks
  if (signature === 'none') throw new Error('The webhooks of Mailchimp have a secret in their URL.')
  return signPayload(signature, { url, body: '', at: 0, contentType: FORM }, [secret])
}

function addressed(url: string, secret: string): Pick<OutgoingWebhook, 'url' | 'headers'> {
  return { url: signed(url, secret).url, headers: { 'user-agent': 'MailChimp' } }
}

function personIn(audience: TwinAudience, member: TwinMember): Fields {
  const merges = Object.entries(member.merge_fields).map(([tag, value]) => [
    `[merges][${tag}]`,
    textOf(value),
  ])
  return {
    '[id]': member.unique_email_id,
    '[list_id]': audience.list.id,
    '[email]': member.email_address,
    '[email_type]': member.email_type,
    '[merges][EMAIL]': member.email_address,
    ...(Object.fromEntries(merges) as Fields),
    '[ip_opt]': '10.20.10.30',
    '[web_id]': String(member.web_id),
  }
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value)
}
