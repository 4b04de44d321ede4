import {
  hashOf,
  newAudience,
  refuse,
  timeText,
  type MailchimpState,
  type TwinAudience,
  type TwinMember,
} from './twinAudience.ts'

/** What somebody wants of a member; what is left out stays. */
export interface Wish {
  readonly status?: string | undefined
  readonly mergeFields?: Readonly<Record<string, unknown>> | undefined
  readonly emailType?: string | undefined
  readonly language?: string | undefined
  readonly vip?: boolean | undefined
}

/** Who does it: only the person can come back from having left. */
export type By = 'user' | 'admin' | 'api'

/** What became of a member, for effects and webhooks. */
export type MemberChange =
  | { readonly kind: 'none'; readonly member: TwinMember }
  | {
      readonly kind: 'added' | 'changed'
      readonly member: TwinMember
      readonly before: TwinMember | undefined
    }

export interface MembersWorld {
  readonly state: MailchimpState
  /** Hexadecimal digits from the seed. */
  readonly digits: (length: number) => string
  readonly now: () => number
}

/** The members of the twin's audiences: rules of Mailchimp, and no webhooks. */
export function createMembers({ state, digits, now }: MembersWorld) {
  const audienceOf = (id: string): TwinAudience | undefined => state.audiences.get(id)

  const addAudience = (name: string, id = digits(10)): TwinAudience => {
    const made = newAudience(id, name, timeText(now()))
    state.audiences.set(id, made)
    return made
  }

  const born = (audience: TwinAudience, address: string, status: string, by: By): TwinMember => ({
    id: hashOf(address),
    email_address: address,
    unique_email_id: digits(10),
    contact_id: digits(32),
    full_name: '',
    web_id: 440_000_000 + audience.members.size,
    email_type: 'html',
    status,
    merge_fields: Object.fromEntries(audience.mergeFields.map(({ tag }) => [String(tag), ''])),
    vip: false,
    language: '',
    timestamp_opt: timeText(now()),
    last_changed: timeText(now()),
    source: by === 'api' ? 'API - Generic' : 'Signup Form',
    list_id: audience.list.id,
  })

  /** Refuses what Mailchimp refuses of somebody who left, bounced or was deleted for good. */
  const allow = (audience: TwinAudience, address: string, wanted: string | undefined, by: By): void => {
    if (by === 'user') return
    const hash = hashOf(address)
    if (audience.forgotten.has(hash))
      refuse(
        400,
        'Forgotten Email Not Subscribed',
        `${address} was permanently deleted and cannot be re-imported. The contact must re-subscribe to get back on the list.`,
      )
    const left = audience.leftByThemselves.has(hash) || audience.members.get(hash)?.status === 'cleaned'
    if (left && wanted === 'subscribed')
      refuse(
        400,
        'Member In Compliance State',
        `${address} is in a compliance state due to unsubscribe, bounce, or compliance review and cannot be subscribed.`,
      )
  }

  const put = (
    audience: TwinAudience,
    before: TwinMember | undefined,
    start: TwinMember,
    wish: Wish,
  ): MemberChange => {
    const unknown = Object.keys(wish.mergeFields ?? {}).filter(
      (tag) => !Object.hasOwn(start.merge_fields, tag),
    )
    const merged = { ...start.merge_fields, ...wish.mergeFields }
    for (const tag of unknown) delete merged[tag]
    const wanted: TwinMember = {
      ...start,
      status: wish.status ?? start.status,
      merge_fields: merged,
      full_name: [merged['FNAME'], merged['LNAME']].filter(Boolean).join(' '),
      email_type: wish.emailType ?? start.email_type,
      language: wish.language ?? start.language,
      vip: wish.vip ?? start.vip,
    }
    if (before !== undefined && JSON.stringify(before) === JSON.stringify(wanted))
      return { kind: 'none', member: before }
    const member = { ...wanted, last_changed: timeText(now()) }
    audience.members.set(member.id, member)
    if (member.status === 'subscribed') audience.leftByThemselves.delete(member.id)
    return { kind: before === undefined ? 'added' : 'changed', member, before }
  }

  return {
    audienceOf,
    addAudience,
    upsert(audience: TwinAudience, address: string, statusIfNew: string, wish: Wish, by: By): MemberChange {
      const before = audience.members.get(hashOf(address))
      allow(audience, address, before === undefined ? statusIfNew : wish.status, by)
      if (by === 'user') audience.forgotten.delete(hashOf(address))
      if (before !== undefined) return put(audience, before, before, wish)
      const { status: _ofKnown, ...rest } = wish
      return put(audience, undefined, born(audience, address, statusIfNew, by), rest)
    },
    update(audience: TwinAudience, member: TwinMember, wish: Wish, by: By): MemberChange {
      allow(audience, member.email_address, wish.status, by)
      return put(audience, member, member, wish)
    },
    /** The person leaves by the link in an e-mail. */
    leave(audience: TwinAudience, member: TwinMember): MemberChange {
      const left = put(audience, member, member, { status: 'unsubscribed' })
      audience.leftByThemselves.add(member.id)
      return left
    },
    archive(audience: TwinAudience, member: TwinMember): MemberChange {
      if (!['subscribed', 'unsubscribed', 'transactional'].includes(member.status))
        refuse(
          405,
          'Method Not Allowed',
          'This list member cannot be removed. Can not archive a contact that is bounced, pending or archived',
        )
      return put(audience, member, member, { status: 'archived' })
    },
    forget(audience: TwinAudience, member: TwinMember): void {
      for (const held of [audience.members, audience.tags, audience.events]) held.delete(member.id)
      audience.leftByThemselves.delete(member.id)
      audience.forgotten.add(member.id)
    },
    /** The address of a member changes, and with it the hash. */
    readdress(audience: TwinAudience, member: TwinMember, address: string): TwinMember {
      const moved = { ...member, id: hashOf(address), email_address: address, last_changed: timeText(now()) }
      for (const held of [audience.members, audience.tags, audience.events] as Map<string, unknown>[]) {
        const value = held.get(member.id)
        held.delete(member.id)
        if (value !== undefined) held.set(moved.id, value)
      }
      audience.members.set(moved.id, moved)
      return moved
    },
  }
}

export type Members = ReturnType<typeof createMembers>
