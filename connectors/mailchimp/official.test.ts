/** The official client, @mailchimp/mailchimp_marketing 3.0.80, against our twin: it must see what our connector sees. */
import client from '@mailchimp/mailchimp_marketing'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { startSubject, type Subject } from '../../tests/conformance/suite.ts'
import { mailchimp, subscriberHash } from './index.ts'
import { createMailchimpTwin, type MailchimpTwin } from './twin.ts'

const listId = 'a1b2c3d4e5'
const ada = { listId, email: 'ada@example.com' }
const hash = subscriberHash(ada.email)

describe('@mailchimp/mailchimp_marketing 3.0.80 against the twin', () => {
  let subject: Subject<MailchimpTwin>

  beforeEach(async () => {
    subject = await startSubject({
      connector: mailchimp,
      folder: new URL('.', import.meta.url),
      twin: (clock) => createMailchimpTwin({ clock }),
      settings: { server: 'us1' },
      authorize: ({ apiKey }) => ({ authorization: `Bearer ${apiKey}` }),
      samples: {},
    })
    client.setConfig({ apiKey: subject.twin.apiKey })
    client.basePath = `${subject.twin.url}/3.0`
  })
  afterEach(async () => {
    await subject.stop()
    if (subject.twin.ownErrors().length > 0) throw new Error(subject.twin.ownErrors().join('; '))
  })

  const ours = async (operation: string, input: object): Promise<unknown> =>
    (await subject.call(operation, input)).output()
  const lastRequest = () => {
    const { method, path, query, body } = subject.twin.requests().at(-1)!
    return {
      method,
      path,
      query: Object.fromEntries(new URLSearchParams(query)),
      body: body === '' || body === '{}' ? {} : (JSON.parse(body) as Record<string, unknown>),
    }
  }
  /** Both ask the same, and get the same. */
  const alike = async (
    theirs: () => Promise<unknown>,
    operation: string,
    input: object,
  ): Promise<unknown> => {
    const seen = await theirs()
    const asked = lastRequest()
    expect(await ours(operation, input)).toEqual(seen)
    expect(lastRequest()).toEqual(asked)
    return seen
  }

  it('asks whether the key is good, by basic authentication where we send a bearer token', async () => {
    expect(await alike(() => client.ping.get(), 'account.ping', {})).toEqual({
      health_status: "Everything's Chimpy!",
    })
    const schemes = subject.twin.requests().map(({ headers }) => headers['authorization']?.split(' ')[0])
    expect(schemes).toEqual(['Basic', 'Bearer'])
    client.setConfig({ accessToken: subject.twin.apiKey })
    await client.ping.get()
    expect(subject.twin.requests().at(-1)!.headers['authorization']).toBe(`Bearer ${subject.twin.apiKey}`)
  })

  it('adds and changes a member with the same requests, and reads the same answers', async () => {
    await alike(
      () =>
        client.lists.setListMember(
          listId,
          hash,
          {
            email_address: ada.email,
            status_if_new: 'subscribed',
            merge_fields: { FNAME: 'Ada' },
            vip: true,
          },
          { skipMergeValidation: true },
        ),
      'members.upsert',
      {
        ...ada,
        statusIfNew: 'subscribed',
        mergeFields: { FNAME: 'Ada' },
        vip: true,
        skipMergeValidation: true,
      },
    )
    await alike(
      () => client.lists.updateListMember(listId, hash, { merge_fields: { LNAME: 'Lovelace' } }),
      'members.update',
      { ...ada, mergeFields: { LNAME: 'Lovelace' } },
    )
    await alike(() => client.lists.getListMember(listId, hash), 'members.retrieve', ada)
    await alike(
      () => client.lists.updateListMember(listId, hash, { status: 'unsubscribed' }),
      'members.unsubscribe',
      ada,
    )
    await alike(
      () => client.lists.updateListMember(listId, hash, { status: 'pending' }),
      'members.requestConfirmation',
      ada,
    )
  })

  it('reads audiences, fields, members and campaigns with the same requests', async () => {
    await subject.twin.signedUp({ email: ada.email })
    await subject.twin.campaignSent({ subject: 'News' })
    await alike(() => client.lists.getAllLists({ email: ada.email, count: 5 }), 'lists.list', {
      email: ada.email,
      count: 5,
    })
    await alike(() => client.lists.getList(listId), 'lists.retrieve', { listId })
    await alike(() => client.lists.getListMergeFields(listId, { offset: 1 }), 'lists.mergeFields', {
      listId,
      offset: 1,
    })
    const since = '2026-01-01T00:00:00Z'
    await alike(
      () =>
        client.lists.getListMembersInfo(listId, {
          status: 'subscribed',
          sinceLastChanged: since,
          sortField: 'last_changed',
          sortDir: 'ASC',
          count: 3,
        }),
      'members.list',
      { listId, status: 'subscribed', sinceLastChanged: since, count: 3 },
    )
    const { campaigns } = (await alike(
      () => client.campaigns.list({ listId, status: 'sent', sinceSendTime: since }),
      'campaigns.list',
      { listId, status: 'sent', sinceSendTime: since },
    )) as { campaigns: { id: string }[] }
    await alike(() => client.campaigns.get(campaigns[0]!.id), 'campaigns.retrieve', { id: campaigns[0]!.id })
  })

  it('tags a member and notes an event with the same requests, which nothing is answered to', async () => {
    await subject.twin.signedUp({ email: ada.email })
    const tags = [
      { name: 'Regular', status: 'active' },
      { name: 'New', status: 'inactive' },
    ]
    await client.lists.updateListMemberTags(listId, hash, { tags, is_syncing: true })
    const tagging = lastRequest()
    expect(await ours('members.tag', { ...ada, add: ['Regular'], remove: ['New'], silently: true })).toEqual({
      email: ada.email,
    })
    expect(lastRequest()).toEqual(tagging)
    await alike(() => client.lists.getListMemberTags(listId, hash), 'members.tags', ada)

    const occurredAt = '2026-11-22T09:00:00+00:00'
    const event = { name: 'booked_appointment', properties: { service: 'cut' }, occurred_at: occurredAt }
    await client.lists.createListMemberEvent(listId, hash, event)
    const noting = lastRequest()
    await subject.call(
      'members.addEvent',
      { ...ada, name: event.name, properties: event.properties, occurredAt },
      { key: 'ours' },
    )
    const { body, ...rest } = lastRequest()
    expect({ ...rest, body: { ...body, properties: { service: 'cut' } } }).toEqual(noting)
    expect(body['properties']).toEqual({ service: 'cut', trestle_key: 'ours' })
    await alike(() => client.lists.getListMemberEvents(listId, hash), 'members.events', ada)
  })

  it('archives and deletes for good with the same requests', async () => {
    for (const [operation, theirs] of [
      ['members.archive', () => client.lists.deleteListMember(listId, hash)],
      ['members.deletePermanently', () => client.lists.deleteListMemberPermanent(listId, hash)],
    ] as const) {
      await subject.twin.signedUp({ email: ada.email })
      await theirs()
      const asked = lastRequest()
      await subject.twin.signedUp({ email: ada.email })
      expect(await ours(operation, ada)).toEqual({ email: ada.email })
      expect(lastRequest()).toEqual(asked)
    }
  })

  it('pages as our connector does, each member once', async () => {
    for (let i = 1; i <= 5; i++) await subject.twin.signedUp({ email: `member${i}@example.com` })
    interface Members {
      readonly members: readonly { readonly email_address: string }[]
      readonly total_items: number
    }
    const read = async (ask: (offset: number) => Promise<unknown>): Promise<string[]> => {
      const found: string[] = []
      for (let total = 1; found.length < total;) {
        const page = (await ask(found.length)) as Members
        found.push(...page.members.map(({ email_address: email }) => email))
        total = page.total_items
      }
      return found
    }
    const theirs = await read((offset) => client.lists.getListMembersInfo(listId, { count: 2, offset }))
    expect(theirs).toHaveLength(5)
    expect(await read((offset) => ours('members.list', { listId, count: 2, offset }))).toEqual(theirs)
  })

  it('is refused with the problem that our connector reads', async () => {
    interface Refused {
      readonly status: number
      readonly response: { readonly body: { readonly title: string; readonly detail: string } }
    }
    const refusal = async (asked: Promise<unknown>): Promise<Refused> =>
      asked.then(
        () => {
          throw new Error('it was not refused')
        },
        (error: unknown) => error as Refused,
      )
    const { status, response } = await refusal(client.lists.getListMember(listId, hash))
    expect({ status, title: response.body.title }).toEqual({ status: 404, title: 'Resource Not Found' })
    expect((await subject.call('members.retrieve', ada)).classification).toEqual({
      as: 'failed',
      code: 'resource_not_found',
      reason: response.body.detail,
    })
    client.setConfig({ apiKey: 'another-us1' })
    expect((await refusal(client.ping.get())).status).toBe(401)
    client.setConfig({ apiKey: subject.twin.apiKey })
    subject.twin.faults.failNext(1, 429)
    expect((await refusal(client.ping.get())).status).toBe(429)
  })
})
