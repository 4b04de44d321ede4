import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { repeatedEffects } from 'trestle/testing'
import {
  describeConnector,
  startSubject,
  type ConformanceOptions,
  type Subject,
} from '../../tests/conformance/suite.ts'
import { mailchimp, subscriberHash } from './index.ts'
import { createMailchimpTwin, type MailchimpTwin } from './twin.ts'

const SECRET = 'a secret in the URL & more'
const listId = 'a1b2c3d4e5'
const ada = { listId, email: 'Ada.Lovelace@example.com' }
const known = ({ twin }: Subject<MailchimpTwin>) =>
  twin.signedUp({ email: ada.email, mergeFields: { FNAME: 'Ada' } })
const withAda = async (subject: Subject<MailchimpTwin>) => {
  await known(subject)
  return ada
}

const options: ConformanceOptions<MailchimpTwin> = {
  connector: mailchimp,
  folder: new URL('.', import.meta.url),
  twin: (clock) => createMailchimpTwin({ clock }),
  settings: { server: 'us1' },
  authorize: ({ apiKey }) => ({ authorization: `Bearer ${apiKey}` }),
  samples: {
    'account.ping': { input: () => ({}) },
    'lists.list': { input: () => ({ count: 5 }) },
    'lists.retrieve': { input: () => ({ listId }) },
    'lists.mergeFields': { input: () => ({ listId }) },
    'members.upsert': {
      input: () => ({ ...ada, statusIfNew: 'subscribed', mergeFields: { FNAME: 'Ada' }, vip: true }),
    },
    'members.update': {
      input: async (subject) => ({ ...(await withAda(subject)), mergeFields: { LNAME: 'Lovelace' } }),
    },
    'members.retrieve': { input: withAda },
    'members.list': {
      input: async (subject) => {
        await known(subject)
        return { listId, sinceLastChanged: '2026-01-01T00:00:00Z' }
      },
    },
    'members.tag': { input: async (subject) => ({ ...(await withAda(subject)), add: ['Regular'] }) },
    'members.tags': {
      input: async (subject) => {
        await known(subject)
        await subject.call('members.tag', { ...ada, add: ['Regular'] })
        return ada
      },
    },
    'members.addEvent': {
      input: async (subject) => ({
        ...(await withAda(subject)),
        name: 'booked_appointment',
        properties: { service: 'cut' },
      }),
    },
    'members.events': {
      input: async (subject) => {
        await known(subject)
        await subject.call('members.addEvent', { ...ada, name: 'booked_appointment' })
        return ada
      },
    },
    'members.unsubscribe': { input: withAda },
    'members.requestConfirmation': {
      input: async (subject) => {
        await known(subject)
        await subject.twin.left({ email: ada.email })
        return ada
      },
      lookupTakesOthers: 'somebody who is pending has an e-mail to answer, whoever asked for it',
    },
    'members.archive': {
      input: withAda,
      lookupTakesOthers: 'an archived member is archived, whoever did it: nothing is left to do',
    },
    'members.deletePermanently': { input: withAda },
    'campaigns.list': {
      input: async ({ twin }) => {
        await twin.campaignSent({ subject: 'News' })
        return { listId, status: 'sent' }
      },
    },
    'campaigns.retrieve': {
      input: async ({ twin }) => ({ id: (await twin.campaignSent({ subject: 'News' })).id }),
    },
  },
  webhooks: {
    secrets: [SECRET],
    async send(twin, url) {
      twin.subscribe(url, SECRET)
      await twin.signedUp({ email: 'ada@example.com', mergeFields: { FNAME: 'Ada & Co' } })
      await twin.profileChanged({ email: 'ada@example.com', mergeFields: { LNAME: 'Lovelace' } })
      await twin.addressChanged({ email: 'ada@example.com', newEmail: 'countess@example.com' })
      await twin.left({ email: 'countess@example.com' })
      await twin.signedUp({ email: 'grace@example.com' })
      await twin.bounced({ email: 'grace@example.com' })
      await twin.campaignSent({ subject: 'News' })
    },
  },
}

describeConnector(options)

describe('mailchimp', () => {
  let subject: Subject<MailchimpTwin>
  beforeEach(async () => {
    subject = await startSubject(options)
  })
  afterEach(() => subject.stop())

  const meaningOf = async (operation: string, input: object) =>
    (await subject.call(operation, input)).classification
  const kinds = () => subject.twin.effects().map(({ kind }) => kind)
  const lose = async (operation: string, input: object) => {
    subject.twin.faults.resetAfterActing(1)
    await expect(subject.call(operation, input, { key: 'k' })).rejects.toMatchObject({
      code: expect.any(String),
    })
  }

  it('names a member by the MD5 of the address in lower case, as the documentation has it', () => {
    expect(subscriberHash('Urist.McVankab@freddiesjokes.com')).toBe('62eeb292278cc15f5817cb78f7790b08')
  })

  it('makes one member of an address, however it is written and however often it is sent', async () => {
    for (const email of [ada.email, ada.email.toUpperCase(), ada.email.toLowerCase()])
      await subject.call('members.upsert', { ...ada, email, statusIfNew: 'pending' })
    expect(kinds()).toEqual(['confirmation.requested'])
    expect([...subject.twin.state.audiences.get(listId)!.members.keys()]).toEqual([subscriberHash(ada.email)])
  })

  it('writes an e-mail only where it is asked about afterwards: no status "pending" by upsert or update', async () => {
    for (const operation of ['members.upsert', 'members.update'])
      await expect(
        subject.call(operation, { ...ada, statusIfNew: 'subscribed', status: 'pending' }),
      ).rejects.toThrow(/status/)
  })

  it('asks once for a confirmation whose answer was lost', async () => {
    await known(subject)
    await subject.twin.left({ email: ada.email })
    expect(await subject.lookUp('members.requestConfirmation', ada, { key: 'k' })).toBeUndefined()
    await lose('members.requestConfirmation', ada)
    expect(await subject.lookUp('members.requestConfirmation', ada, { key: 'k' })).toMatchObject({
      status: 'pending',
    })
    await subject.twin.signedUp({ email: ada.email })
    expect(await subject.lookUp('members.requestConfirmation', ada, { key: 'k' })).toMatchObject({
      status: 'subscribed',
    })
    expect(kinds()).toEqual(['confirmation.requested'])
  })

  it('knows that somebody was archived though the answer was lost; a second request would look like a failure', async () => {
    await known(subject)
    await lose('members.archive', ada)
    expect(await subject.lookUp('members.archive', ada, { key: 'k' })).toEqual({ email: ada.email })
    expect(await meaningOf('members.archive', ada)).toMatchObject({
      as: 'failed',
      code: 'method_not_allowed',
      reason: expect.stringContaining('bounced, pending or archived'),
    })
    await subject.call('members.upsert', { ...ada, statusIfNew: 'subscribed', status: 'subscribed' })
    expect(await subject.lookUp('members.archive', ada, { key: 'k' })).toBeUndefined()
  })

  it('finds a lost event by its key, and not an equal one of another step', async () => {
    await known(subject)
    const event = { ...ada, name: 'booked_appointment', properties: { service: 'cut' } }
    await subject.call('members.addEvent', event, { key: 'another' })
    expect(await subject.lookUp('members.addEvent', event, { key: 'k' })).toBeUndefined()
    await lose('members.addEvent', event)
    expect(await subject.lookUp('members.addEvent', event, { key: 'k' })).toEqual({ email: ada.email })
    expect(repeatedEffects(subject.twin.effects())).toEqual([])
    await subject.call('members.addEvent', event, { key: 'k' })
    expect(repeatedEffects(subject.twin.effects())).toHaveLength(1)
  })

  it('leaves an event to a person where not all are shown, and keeps its property to itself', async () => {
    await known(subject)
    const audience = subject.twin.state.audiences.get(listId)!
    const event = { occurred_at: '2026-11-22T09:00:00+00:00', name: 'seen', properties: {} }
    const lookUp = () => subject.lookUp('members.addEvent', { ...ada, name: 'seen' }, { key: 'k' })
    audience.events.set(
      subscriberHash(ada.email),
      Array.from({ length: 1000 }, () => event),
    )
    expect(await lookUp()).toBeUndefined()
    audience.events.set(
      subscriberHash(ada.email),
      Array.from({ length: 1001 }, () => event),
    )
    await expect(lookUp()).rejects.toThrow(/1001 events/)
    await expect(
      subject.call('members.addEvent', { ...ada, name: 'seen', properties: { trestle_key: 'mine' } }),
    ).rejects.toThrow(/trestle_key is ours/)
  })

  it('deletes for good, which bars the address and can be neither asked about nor done again', async () => {
    await known(subject)
    expect(await meaningOf('members.deletePermanently', ada)).toEqual({ as: 'succeeded' })
    expect(mailchimp.operations.members.deletePermanently.idempotency).toEqual({ kind: 'none' })
    expect(await meaningOf('members.upsert', { ...ada, statusIfNew: 'subscribed' })).toMatchObject({
      as: 'failed',
      code: 'forgotten_email_not_subscribed',
    })
    expect(await meaningOf('members.deletePermanently', ada)).toMatchObject({ code: 'resource_not_found' })
    const wrongAudience = { ...ada, listId: 'f00' }
    expect(await meaningOf('members.retrieve', wrongAudience)).toMatchObject({ code: 'resource_not_found' })
  })

  it('a 5xx of what cannot be repeated is doubt; of a read and of an upsert it is tried again', async () => {
    await known(subject)
    for (const [operation, as] of [
      ['members.deletePermanently', 'in_doubt'],
      ['members.archive', 'in_doubt'],
      ['members.requestConfirmation', 'in_doubt'],
      ['members.unsubscribe', 'retry'],
      ['members.retrieve', 'retry'],
    ] as const) {
      subject.twin.faults.failNext(1, 503)
      expect([operation, (await meaningOf(operation, ada)).as]).toEqual([operation, as])
    }
  })

  it('somebody who left is not brought back but by themselves', async () => {
    await known(subject)
    await subject.twin.left({ email: ada.email })
    expect(await meaningOf('members.update', { ...ada, status: 'subscribed' })).toMatchObject({
      as: 'failed',
      code: 'member_in_compliance_state',
    })
    expect(await meaningOf('members.requestConfirmation', ada)).toEqual({ as: 'succeeded' })
  })

  it('puts tags on and takes them off without their case, and puts none on twice', async () => {
    await known(subject)
    await subject.call('members.tag', { ...ada, add: ['Regular', 'VIP'] })
    await subject.call('members.tag', { ...ada, add: ['regular'], remove: ['vip'] })
    const { tags } = (await (await subject.call('members.tags', ada)).output()) as {
      tags: { name: string }[]
    }
    expect(tags.map(({ name }) => name)).toEqual(['Regular'])
    await expect(subject.call('members.tag', ada)).rejects.toThrow(/name a tag/)
  })
})
