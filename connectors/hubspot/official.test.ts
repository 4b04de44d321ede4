/** The official client, @hubspot/api-client 13.5.0, as the witness: it and our connector must see the same twin. */
import { Client, Signature } from '@hubspot/api-client'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { startReceiver } from '../../tests/conformance/receiver.ts'
import { startSubject, type Subject } from '../../tests/conformance/suite.ts'
import { hubspot } from './index.ts'
import { createHubspotTwin, type HubspotTwin } from './twin.ts'

let subject: Subject<HubspotTwin>
let client: Client

/** The client makes Dates of times; ours stay as they came. */
const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value))
/** `new` is no name in the client's language. */
const withoutRenaming = (value: unknown): unknown => {
  const { _new, ...rest } = value as { _new: unknown }
  return { ...rest, new: _new }
}
const ours = async (operation: string, input: unknown, key?: string) => {
  const called = await subject.call(operation, input, key === undefined ? {} : { key })
  expect(called.classification).toEqual({ as: 'succeeded' })
  return plain(await called.output())
}

describe('the official client of HubSpot and the connector', () => {
  beforeEach(async () => {
    subject = await startSubject({
      connector: hubspot,
      folder: new URL('.', import.meta.url),
      twin: (clock) => createHubspotTwin({ clock }),
      authorize: () => ({ authorization: 'Bearer pat-twin' }),
      samples: {},
    })
    client = new Client({ accessToken: 'pat-twin', basePath: subject.twin.url })
  })
  afterEach(async () => {
    if (subject.twin.ownErrors().length > 0) throw new Error(subject.twin.ownErrors().join('\n'))
    await subject.stop()
  })

  it('read the same contact, by id and by address', async () => {
    const made = await client.crm.contacts.basicApi.create({
      properties: { email: 'ada@example.com', firstname: 'Ada' },
      associations: [],
    })
    const names = ['email', 'firstname', 'lastname', 'phone', 'company', 'lifecyclestage']
    const theirs = plain(await client.crm.contacts.basicApi.getById(made.id, names))
    expect(await ours('contacts.retrieve', { id: made.id })).toEqual(theirs)
    expect(await ours('contacts.find', { email: 'ada@example.com' })).toEqual(theirs)
    expect(
      plain(
        await client.crm.contacts.basicApi.getById(
          'ada@example.com',
          names,
          undefined,
          undefined,
          false,
          'email',
        ),
      ),
    ).toEqual(theirs)
  })

  it('send the same upsert and get the same answer', async () => {
    await subject.twin.contactCreated({ email: 'ada@example.com' })
    const mine = await ours('contacts.upsert', { email: 'ada@example.com', properties: { phone: '1' } })
    const theirs = await client.crm.contacts.batchApi.upsert({
      inputs: [
        { idProperty: 'email', id: 'ada@example.com', properties: { phone: '1', email: 'ada@example.com' } },
      ],
    })
    expect(withoutRenaming(plain(theirs.results[0]))).toEqual(mine)
    const [first, second] = subject.twin.requests()
    expect(JSON.parse(second!.body)).toEqual(JSON.parse(first!.body))
    expect([second!.method, second!.path]).toEqual([first!.method, first!.path])
  })

  it('update, list and search the same', async () => {
    const { id } = await subject.twin.contactCreated({ email: 'ada@example.com' })
    await client.crm.contacts.basicApi.update(id, { properties: { firstname: 'Augusta' } })
    await subject.clock.advance(10_000)
    const names = ['email', 'firstname', 'lastname', 'phone', 'company', 'lifecyclestage']
    const request = { limit: 10, properties: names, query: 'augusta' }
    const theirs = plain(await client.crm.contacts.searchApi.doSearch(request))
    expect(await ours('contacts.search', { limit: 10, query: 'augusta' })).toEqual(theirs)
    const page = plain(await client.crm.contacts.basicApi.getPage(100, undefined, names))
    expect(await ours('contacts.list', {})).toEqual(page)
  })

  it('see each other’s notes and what they belong to', async () => {
    const { id } = await subject.twin.contactCreated({ email: 'ada@example.com' })
    const mine = (await ours('notes.create', { contact: id, text: 'Paid $19.99' })) as { id: string }
    const read = await client.crm.objects.notes.basicApi.getById(
      mine.id,
      ['hs_note_body', 'hs_timestamp'],
      undefined,
      ['contacts'],
    )
    expect(read.properties['hs_note_body']).toContain('Paid $19.99<br><br>[ref trestle-')
    expect(read.associations?.['contacts']?.results.map((one) => one.id)).toEqual([id])

    await client.crm.objects.notes.basicApi.create({
      properties: { hs_timestamp: String(subject.clock.now()), hs_note_body: 'From the client' },
      associations: [
        {
          to: { id },
          types: [{ associationCategory: 'HUBSPOT_DEFINED' as never, associationTypeId: 202 }],
        },
      ],
    })
    await subject.clock.advance(10_000)
    const list = (await ours('notes.list', { contact: id })) as { total: number }
    expect(list.total).toBe(2)
    const associated = await client.crm.associations.v4.basicApi.getPage('contacts', id, 'notes')
    expect(associated.results).toHaveLength(2)
  })

  it('create and change the same deals', async () => {
    const mine = (await ours('deals.create', {
      name: 'Spring',
      stage: 'appointmentscheduled',
      amount: '10.50',
    })) as {
      id: string
    }
    const theirs = await client.crm.deals.basicApi.update(mine.id, { properties: { dealstage: 'closedwon' } })
    expect(plain(theirs)).toEqual(
      await ours('deals.update', { id: mine.id, properties: { dealstage: 'closedwon' } }),
    )
  })

  it('are refused the same: a conflict, a missing object, a bad token', async () => {
    await subject.twin.contactCreated({ email: 'ada@example.com' })
    const { id } = await subject.twin.contactCreated({ email: 'bob@example.com' })
    const change = { properties: { email: 'ada@example.com' } }
    await expect(client.crm.contacts.basicApi.update(id, change)).rejects.toMatchObject({ code: 409 })
    expect((await subject.call('contacts.update', { id, ...change })).classification).toMatchObject({
      as: 'failed',
      code: 'conflict',
    })
    await expect(client.crm.contacts.basicApi.getById('999')).rejects.toMatchObject({ code: 404 })
    expect(await ours('contacts.find', { id: '999' })).toBeNull()
    const stranger = new Client({ accessToken: 'nothing', basePath: subject.twin.url })
    await expect(stranger.crm.contacts.basicApi.getPage()).rejects.toMatchObject({ code: 401 })
  })

  it('refresh a token at the twin', async () => {
    const { refreshToken } = subject.twin.install()
    const answer = await client.oauth.tokensApi.create(
      'refresh_token',
      undefined,
      undefined,
      'hubspot-client',
      'hubspot-client-secret',
      refreshToken,
    )
    const fresh = new Client({ accessToken: answer.accessToken, basePath: subject.twin.url })
    expect((await fresh.crm.contacts.basicApi.getPage()).results).toEqual([])
  })

  it('verify the twin’s webhooks, and refuse forged ones', async () => {
    const receiver = await startReceiver()
    subject.twin.subscribe(receiver.url)
    subject.twin.webhooks.forgeBeforeNext(1)
    await subject.twin.contactCreated({ email: 'ada@example.com' })
    // isValid asks the machine's clock; its other half, the signature itself, does not.
    const verdicts = receiver.received.map(
      ({ headers, body, method, url }) =>
        headers['x-hubspot-signature-v3'] ===
        Signature.getSignature(method, 'v3', {
          signature: '',
          clientSecret: 'hubspot-client-secret',
          requestBody: body.toString('utf8'),
          url,
          timestamp: Number(headers['x-hubspot-request-timestamp']),
        }),
    )
    expect(verdicts).toEqual([false, true])
    await receiver.stop()
  })
})
