import { createHash } from 'node:crypto'
import { Refusal } from 'trestle/testing'

/** A member as the API answers it. Its tags and events stand beside it. */
export interface TwinMember {
  readonly id: string
  readonly email_address: string
  readonly unique_email_id: string
  readonly contact_id: string
  readonly full_name: string
  readonly web_id: number
  readonly email_type: string
  readonly status: string
  readonly merge_fields: Readonly<Record<string, unknown>>
  readonly vip: boolean
  readonly language: string
  readonly timestamp_opt: string
  readonly last_changed: string
  readonly source: string
  readonly list_id: string
}

export interface TwinMemberEvent {
  readonly occurred_at: string
  readonly name: string
  readonly properties: Readonly<Record<string, unknown>>
}

export interface TwinAudience {
  readonly list: { readonly id: string; readonly name: string; readonly date_created: string }
  readonly mergeFields: readonly Readonly<Record<string, unknown>>[]
  /** By subscriber hash. */
  readonly members: Map<string, TwinMember>
  /** Names of tags by subscriber hash, in the order in which they were put on. */
  readonly tags: Map<string, readonly string[]>
  readonly events: Map<string, readonly TwinMemberEvent[]>
  /** Subscriber hashes of those who were deleted for good. */
  readonly forgotten: Set<string>
  /** Subscriber hashes of those who unsubscribed themselves: only they can come back. */
  readonly leftByThemselves: Set<string>
}

export interface TwinCampaign {
  readonly id: string
  readonly type: string
  readonly status: string
  readonly create_time: string
  readonly send_time: string
  readonly emails_sent: number
  readonly content_type: string
  readonly recipients: {
    readonly list_id: string
    readonly list_name: string
    readonly recipient_count: number
  }
  readonly settings: { readonly subject_line: string; readonly title: string; readonly from_name: string }
}

export interface MailchimpState {
  readonly audiences: Map<string, TwinAudience>
  readonly campaigns: Map<string, TwinCampaign>
  /** Names of tags, whose ids are their places. */
  readonly tagNames: string[]
}

export function hashOf(address: string): string {
  return createHash('md5').update(address.toLowerCase()).digest('hex')
}

/** The audience's own fields, besides the address. */
const MERGE_FIELDS = [
  [1, 'FNAME', 'First Name', 'text'],
  [2, 'LNAME', 'Last Name', 'text'],
  [3, 'PHONE', 'Phone Number', 'phone'],
] as const

export function newAudience(id: string, name: string, at: string): TwinAudience {
  return {
    list: { id, name, date_created: at },
    mergeFields: MERGE_FIELDS.map(([mergeId, tag, title, type], place) => ({
      merge_id: mergeId,
      tag,
      name: title,
      type,
      required: false,
      default_value: '',
      public: true,
      display_order: place + 2,
      options: { size: 25 },
      help_text: '',
      list_id: id,
    })),
    members: new Map(),
    tags: new Map(),
    events: new Map(),
    forgotten: new Set(),
    leftByThemselves: new Set(),
  }
}

/** `{ type, title, status, detail, instance }`, as application/problem+json. */
export function problem(status: number, title: string, detail: string, errors?: readonly unknown[]): unknown {
  return {
    type: 'https://mailchimp.com/developer/marketing/docs/errors/',
    title,
    status,
    detail,
    instance: '9d741ebc-c22a-4e34-af47-5463c4f5cd25',
    ...(errors === undefined ? {} : { errors }),
  }
}

export function refuse(status: number, title: string, detail: string, errors?: readonly unknown[]): never {
  throw new Refusal({
    status,
    headers: { 'content-type': 'application/problem+json; charset=utf-8' },
    json: problem(status, title, detail, errors),
  })
}

export function notFound(): never {
  return refuse(404, 'Resource Not Found', 'The requested resource could not be found.')
}

/** ISO 8601 as Mailchimp writes it: whole seconds, `+00:00`. */
export function timeText(ms: number): string {
  return new Date(ms).toISOString().replace(/\.\d{3}Z$/, '+00:00')
}

/** The member as the API shows it, with its tags. */
export function shown(audience: TwinAudience, member: TwinMember, state: MailchimpState): unknown {
  const tags = (audience.tags.get(member.id) ?? []).map((name) => ({ id: tagId(state, name), name }))
  return { ...member, tags_count: tags.length, tags }
}

export function tagId(state: MailchimpState, name: string): number {
  const place = state.tagNames.findIndex((known) => known.toLowerCase() === name.toLowerCase())
  return 1000 + (place === -1 ? state.tagNames.push(name) - 1 : place)
}
