import { fieldsOf, route, textOf, type TwinAnswer, type TwinRequest, type TwinRoute } from 'trestle/testing'
import {
  hashOf,
  notFound,
  refuse,
  shown,
  tagId,
  timeText,
  type MailchimpState,
  type TwinAudience,
  type TwinMember,
} from './twinAudience.ts'
import type { MemberChange, Members, Wish } from './twinMembers.ts'

/** What the routes ask of the twin. */
export interface MailchimpWorld {
  readonly state: MailchimpState
  readonly members: Members
  /** Tells the webhooks, if they want to hear of what the API did. */
  readonly tellChange: (audience: TwinAudience, change: MemberChange) => void
  readonly tellRemoved: (audience: TwinAudience, member: TwinMember) => void
}

type Request = TwinRequest<MailchimpState>
type Fields = Readonly<Record<string, unknown>>

const MEMBER = '/3.0/lists/:list/members/:member'

export function mailchimpRoutes(world: MailchimpWorld): readonly TwinRoute<MailchimpState>[] {
  const { state, members } = world
  const audienceIn = ({ params }: Request): TwinAudience =>
    members.audienceOf(params['list'] ?? '') ?? notFound()
  /** By hash, by address or by contact id, as Mailchimp takes them. */
  const memberIn = (audience: TwinAudience, { params }: Request): TwinMember | undefined => {
    const name = params['member'] ?? ''
    return (
      audience.members.get(name.includes('@') ? hashOf(name) : name) ??
      [...audience.members.values()].find(({ contact_id: id }) => id === name)
    )
  }
  const known = (request: Request): { audience: TwinAudience; member: TwinMember } => {
    const audience = audienceIn(request)
    return { audience, member: memberIn(audience, request) ?? notFound() }
  }
  const done = (request: Request, audience: TwinAudience, change: MemberChange): TwinAnswer => {
    if (change.kind !== 'none') {
      const { email_address: address, status } = change.member
      request.effect({
        kind: change.member.status === 'pending' ? 'confirmation.requested' : `member.${change.kind}`,
        key: `${address} ${JSON.stringify(request.json)}`,
        ref: change.member.id,
        summary: `member ${address} ${change.kind} (${status})`,
      })
      world.tellChange(audience, change)
    }
    return { status: 200, json: shown(audience, change.member, state) }
  }
  const removed = (request: Request, audience: TwinAudience, member: TwinMember, how: string): TwinAnswer => {
    const { email_address: address } = member
    request.effect({
      kind: `member.${how}`,
      key: address,
      ref: member.id,
      summary: `member ${address} ${how}`,
    })
    world.tellRemoved(audience, member)
    return { status: 204 }
  }

  return [
    route('GET', '/3.0/ping', () => ({ status: 200, json: { health_status: "Everything's Chimpy!" } })),

    route('GET', '/3.0/lists', ({ query }) => {
      const address = query.get('email')
      const all = [...state.audiences.values()].filter(
        ({ members: held }) => address === null || held.has(hashOf(address)),
      )
      return pageOf('lists', all.map(listShown), query)
    }),
    route('GET', '/3.0/lists/:list', (request) => ({ status: 200, json: listShown(audienceIn(request)) })),
    route('GET', '/3.0/lists/:list/merge-fields', (request) => {
      const { mergeFields, list } = audienceIn(request)
      return pageOf('merge_fields', mergeFields, request.query, { list_id: list.id })
    }),

    route('GET', '/3.0/lists/:list/members', (request) => {
      const audience = audienceIn(request)
      const { query } = request
      const status = query.get('status')
      const since = timeIn(query, 'since_last_changed')
      const before = timeIn(query, 'before_last_changed')
      const found = [...audience.members.values()].filter(
        (one) =>
          (status === null ? one.status !== 'archived' : one.status === status) &&
          (since === undefined || Date.parse(one.last_changed) > since) &&
          (before === undefined || Date.parse(one.last_changed) < before),
      )
      if (query.get('sort_field') === 'last_changed') {
        found.sort((a, b) => Date.parse(a.last_changed) - Date.parse(b.last_changed))
        if (query.get('sort_dir') === 'DESC') found.reverse()
      }
      const all = found.map((one) => shown(audience, one, state))
      return pageOf('members', all, query, { list_id: audience.list.id })
    }),
    route('GET', MEMBER, (request) => {
      const { audience, member } = known(request)
      return { status: 200, json: shown(audience, member, state) }
    }),
    route('PUT', MEMBER, (request) => {
      const audience = audienceIn(request)
      const body = fieldsOf(request.json)
      const address = textOf(body['email_address']) ?? memberIn(audience, request)?.email_address
      if (address === undefined) return invalid('email_address', 'This value should not be blank.')
      const statusIfNew = textOf(body['status_if_new']) ?? textOf(body['status'])
      if (statusIfNew === undefined && memberIn(audience, request) === undefined)
        invalid('status_if_new', 'This value should not be blank.')
      return done(
        request,
        audience,
        members.upsert(audience, address, statusIfNew ?? 'subscribed', wishOf(body), 'api'),
      )
    }),
    route('PATCH', MEMBER, (request) => {
      const { audience, member } = known(request)
      return done(request, audience, members.update(audience, member, wishOf(fieldsOf(request.json)), 'api'))
    }),
    route('DELETE', MEMBER, (request) => {
      const { audience, member } = known(request)
      members.archive(audience, member)
      return removed(request, audience, member, 'archived')
    }),
    route('POST', `${MEMBER}/actions/delete-permanent`, (request) => {
      const { audience, member } = known(request)
      members.forget(audience, member)
      return removed(request, audience, member, 'forgotten')
    }),

    route('GET', `${MEMBER}/tags`, (request) => {
      const { audience, member } = known(request)
      const all = (audience.tags.get(member.id) ?? []).map((name) => ({
        id: tagId(state, name),
        name,
        date_added: member.last_changed,
      }))
      return pageOf('tags', all, request.query)
    }),
    route('POST', `${MEMBER}/tags`, (request) => {
      const { audience, member } = known(request)
      const wanted = fieldsOf(request.json)['tags']
      if (!Array.isArray(wanted)) return invalid('tags', 'This value should be of type array.')
      const before = audience.tags.get(member.id) ?? []
      const after = wanted.map(fieldsOf).reduce<readonly string[]>((tags, { name, status }) => {
        const without = tags.filter((tag) => tag.toLowerCase() !== String(name).toLowerCase())
        return status === 'inactive' ? without : without.length < tags.length ? tags : [...tags, String(name)]
      }, before)
      if (before.join('\n') !== after.join('\n')) {
        audience.tags.set(member.id, after)
        for (const name of after) tagId(state, name)
        request.effect({
          kind: 'member.tagged',
          key: `${member.email_address} ${JSON.stringify(wanted)}`,
          ref: member.id,
          summary: `tags of ${member.email_address}: ${after.join(', ')}`,
        })
      }
      return { status: 204 }
    }),

    route('GET', `${MEMBER}/events`, (request) => {
      const { audience, member } = known(request)
      return pageOf('events', audience.events.get(member.id) ?? [], request.query)
    }),
    route('POST', `${MEMBER}/events`, (request) => {
      const { audience, member } = known(request)
      const body = fieldsOf(request.json)
      const name = textOf(body['name'])
      if (name === undefined || name.length < 2 || name.length > 30)
        return invalid('name', 'Event names must be 2 to 30 characters.')
      const properties = fieldsOf(body['properties'])
      const occurredAt = timeText(Date.parse(textOf(body['occurred_at']) ?? '') || request.now)
      const event = { occurred_at: occurredAt, name, properties }
      audience.events.set(member.id, [event, ...(audience.events.get(member.id) ?? [])])
      request.effect({
        kind: 'member.event',
        key: `${member.email_address} ${JSON.stringify(body)}`,
        ref: member.id,
        summary: `${member.email_address} ${name}`,
      })
      return { status: 204 }
    }),

    route('GET', '/3.0/campaigns', ({ query }) => {
      const list = query.get('list_id')
      const status = query.get('status')
      const since = timeIn(query, 'since_send_time')
      const before = timeIn(query, 'before_send_time')
      const all = [...state.campaigns.values()].filter((one) => {
        const sentAt = Date.parse(one.send_time)
        return (
          (list === null || one.recipients.list_id === list) &&
          (status === null || one.status === status) &&
          (since === undefined || sentAt > since) &&
          (before === undefined || sentAt < before)
        )
      })
      return pageOf('campaigns', all, query)
    }),
    route('GET', '/3.0/campaigns/:id', ({ params }) => ({
      status: 200,
      json: state.campaigns.get(params['id'] ?? '') ?? notFound(),
    })),
  ]
}

function listShown({ list, members }: TwinAudience): unknown {
  const count = (status: string): number =>
    [...members.values()].filter((one) => one.status === status).length
  return {
    ...list,
    web_id: 382_062,
    permission_reminder: 'You signed up on our website.',
    email_type_option: false,
    double_optin: false,
    marketing_permissions: false,
    stats: {
      member_count: count('subscribed'),
      unsubscribe_count: count('unsubscribed'),
      cleaned_count: count('cleaned'),
    },
  }
}

/** Ten where nothing is said, at most 1,000. */
function pageOf(
  name: string,
  all: readonly unknown[],
  query: URLSearchParams,
  more: Fields = {},
): TwinAnswer {
  const count = Number(query.get('count') ?? 10)
  const offset = Number(query.get('offset') ?? 0)
  if (!(count >= 0 && count <= 1000)) invalid('count', 'This value should be 1000 or less.')
  return {
    status: 200,
    json: { [name]: all.slice(offset, offset + count), ...more, total_items: all.length },
  }
}

function timeIn(query: URLSearchParams, name: string): number | undefined {
  const given = query.get(name)
  if (given === null) return undefined
  const at = Date.parse(given)
  return Number.isNaN(at) ? invalid(name, 'This value is not a valid date.') : at
}

function invalid(field: string, message: string): never {
  const detail =
    "The resource submitted could not be validated. For field-specific details, see the 'errors' array."
  return refuse(400, 'Invalid Resource', detail, [{ field, message }])
}

function wishOf(body: Fields): Wish {
  const vip = body['vip']
  return {
    status: textOf(body['status']),
    mergeFields: body['merge_fields'] === undefined ? undefined : fieldsOf(body['merge_fields']),
    emailType: textOf(body['email_type']),
    language: textOf(body['language']),
    vip: typeof vip === 'boolean' ? vip : undefined,
  }
}
