/** The official client, twilio 6.2.0, against our twin: it must see what our connector sees. */
import officialTwilio from 'twilio'
import type RequestClient from 'twilio/lib/base/RequestClient.js'
import type HttpResponse from 'twilio/lib/http/response.js'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { startReceiver, type Receiver } from '../../tests/conformance/receiver.ts'
import { startSubject, type Subject } from '../../tests/conformance/suite.ts'
import { createFakeClock } from '../../src/testing/index.ts'
import { twilio } from './index.ts'
import { createTwilioTwin, type TwilioTwin } from './twin.ts'

const NUMBER = '+15005550006'
const ADA = '+447700900123'
const HOUR = 3_600_000

/** Sends what the official client wanted to send to api.twilio.com to the twin instead. */
class ToTwin extends officialTwilio.RequestClient {
  readonly url: string
  constructor(url: string) {
    super({ autoRetry: false })
    this.url = url
  }
  override request<Data>(options: RequestClient.RequestOptions<Data>): Promise<HttpResponse.default<Data>> {
    return super.request({ ...options, uri: options.uri.replace('https://api.twilio.com', this.url) })
  }
}

describe('twilio 6.2.0 against the twin', () => {
  let subject: Subject<TwilioTwin>
  let client: ReturnType<typeof officialTwilio>

  beforeEach(async () => {
    subject = await startSubject({
      connector: twilio,
      folder: new URL('.', import.meta.url),
      twin: (clock) =>
        createTwilioTwin({
          clock,
          sendAfterMs: HOUR,
          deliverAfterMs: HOUR,
          apiKey: { sid: 'SK1', secret: 'key-secret' },
        }),
      settings: { accountSid: `AC${'0123456789abcdef'.repeat(2)}` },
      authorize: (twin) => ({
        authorization: `Basic ${Buffer.from(`${twin.accountSid}:${twin.authToken}`).toString('base64')}`,
      }),
      samples: {},
    })
    const { accountSid, authToken, url } = subject.twin
    client = officialTwilio(accountSid, authToken, { httpClient: new ToTwin(url) })
  })
  afterEach(async () => {
    await subject.stop()
    if (subject.twin.ownErrors().length > 0) throw new Error(subject.twin.ownErrors().join('; '))
  })

  const output = async (operation: string, input: object): Promise<Record<string, unknown>> =>
    (await (await subject.call(operation, input)).output()) as Record<string, unknown>
  const timeOf = (date: unknown): number | null => (typeof date === 'string' ? Date.parse(date) : null)

  const fieldsOf = (form: string): object => Object.fromEntries(new URLSearchParams(form))

  /** A message as both see it. */
  const official = (message: Awaited<ReturnType<typeof client.messages.create>>) => ({
    sid: message.sid,
    status: message.status,
    direction: message.direction,
    to: message.to,
    from: message.from,
    body: message.body,
    error_code: message.errorCode,
    num_segments: message.numSegments,
    created: message.dateCreated.getTime(),
    sent: (message.dateSent as Date | null)?.getTime() ?? null,
  })
  const ours = (message: Record<string, unknown>) => ({
    sid: message['sid'],
    status: message['status'],
    direction: message['direction'],
    to: message['to'],
    from: message['from'],
    body: message['body'],
    error_code: message['error_code'],
    num_segments: message['num_segments'],
    created: timeOf(message['date_created']),
    sent: timeOf(message['date_sent']),
  })

  it('sends the same request for the same message, and reads the same answer', async () => {
    const made = await client.messages.create({
      to: ADA,
      from: NUMBER,
      body: 'Größe & Preis',
      statusCallback: 'https://hooks.example/t',
    })
    const officialRequest = subject.twin.requests().at(-1)!
    const mine = await output('messages.create', {
      to: ADA,
      from: NUMBER,
      body: 'Größe & Preis',
      statusCallback: 'https://hooks.example/t',
    })
    const ourRequest = subject.twin.requests().at(-1)!
    expect(ourRequest.path).toBe(officialRequest.path)
    expect(ourRequest.headers['authorization']).toBe(officialRequest.headers['authorization'])
    expect(ourRequest.headers['content-type']).toBe(officialRequest.headers['content-type'])
    expect(fieldsOf(ourRequest.body)).toEqual(fieldsOf(officialRequest.body))
    expect({ ...ours(mine), sid: made.sid }).toEqual(official(made))
  })

  it('reads a message, queued and delivered, as our connector does', async () => {
    const { sid } = await client.messages.create({ to: ADA, from: NUMBER, body: 'Hello' })
    expect(official(await client.messages(sid).fetch())).toEqual(
      ours(await output('messages.retrieve', { sid })),
    )
    await subject.clock.advance(2 * HOUR)
    const delivered = official(await client.messages(sid).fetch())
    expect(delivered).toEqual(ours(await output('messages.retrieve', { sid })))
    expect(delivered).toMatchObject({ status: 'delivered', sent: subject.clock.now() - HOUR })
  })

  it('pages through the list as our connector does', async () => {
    for (let i = 1; i <= 5; i++) await client.messages.create({ to: ADA, from: NUMBER, body: `Message ${i}` })
    await client.messages.create({ to: '+447700900999', from: NUMBER, body: 'To somebody else' })
    const theirs = (await client.messages.list({ to: ADA, pageSize: 2 })).map(official)
    const mine: unknown[] = []
    let input: object | undefined = { to: ADA, pageSize: 2 }
    while (input) {
      const page = (await output('messages.list', input)) as {
        messages: Record<string, unknown>[]
        next_page_uri: string | null
      }
      mine.push(...page.messages.map(ours))
      input = page.next_page_uri === null ? undefined : { nextPageUri: page.next_page_uri }
    }
    expect(theirs).toHaveLength(5)
    expect(mine).toEqual(theirs)
  })

  it('filters the list by date as our connector does', async () => {
    await client.messages.create({ to: ADA, from: NUMBER, body: 'Sent' })
    await subject.clock.advance(HOUR)
    await client.messages.create({ to: ADA, from: NUMBER, body: 'Queued' })
    const day = new Date(subject.clock.now())
    const theirs = await client.messages.list({ dateSentAfter: day })
    const mine = await output('messages.list', { dateSentAfter: day.toISOString().slice(0, 10) })
    expect(theirs.map(({ body }) => body)).toEqual(['Sent'])
    expect(mine['messages']).toMatchObject([{ body: 'Sent' }])
    const [theirQuery, ourQuery] = subject.twin
      .requests()
      .slice(-2)
      .map(({ query }) => [...new URLSearchParams(query)])
    expect(theirQuery).toEqual([['DateSent>', `${day.toISOString().slice(0, 19)}Z`]])
    expect(ourQuery, 'the day, as the reference says').toEqual([
      ['DateSent>', day.toISOString().slice(0, 10)],
    ])
  })

  it('reads refusals with their numbers, as our connector does', async () => {
    const refusals = [
      { to: '+1', from: NUMBER, body: 'Hello' },
      { to: ADA, from: '+15005550001', body: 'Hello' },
    ]
    for (const input of refusals) {
      const error = await client.messages.create(input).catch((thrown: unknown) => thrown)
      const { classification } = await subject.call('messages.create', {
        ...input,
        to: input.to === '+1' ? '+12' : input.to,
      })
      expect(error).toMatchObject({
        status: 400,
        code: expect.any(Number),
        moreInfo: expect.stringContaining('twilio.com'),
      })
      expect(classification).toMatchObject({
        as: 'failed',
        code: `twilio_${(error as { code: number }).code}`,
      })
    }
    await expect(client.messages('SM404').fetch()).rejects.toMatchObject({ status: 404, code: 20404 })
    subject.twin.faults.failNext(1, 429)
    await expect(client.messages.list({ limit: 1 })).rejects.toMatchObject({ status: 429, code: 20429 })
  })

  it('authorizes with an API key, and is refused with a wrong one', async () => {
    const { accountSid, url } = subject.twin
    const options = { accountSid, httpClient: new ToTwin(url) }
    await expect(officialTwilio('SK1', 'key-secret', options).messages.list({ limit: 1 })).resolves.toEqual(
      [],
    )
    await expect(officialTwilio('SK1', 'wrong', options).messages.list({ limit: 1 })).rejects.toMatchObject({
      status: 401,
      code: 20003,
    })
  })

  it('reads the account as our connector does, but for the token', async () => {
    const theirs = await client.api.v2010.accounts(subject.twin.accountSid).fetch()
    const mine = await output('account.retrieve', {})
    expect(mine).toMatchObject({
      sid: theirs.sid,
      friendly_name: theirs.friendlyName,
      status: theirs.status,
      type: theirs.type,
    })
    expect(theirs.authToken).toBe(subject.twin.authToken)
    expect(mine).not.toHaveProperty('auth_token')
  })
})

describe('webhooks of the twin, checked by twilio 6.2.0', () => {
  let receiver: Receiver
  let twin: TwilioTwin

  beforeEach(async () => {
    receiver = await startReceiver()
    twin = createTwilioTwin({ clock: createFakeClock() })
    await twin.start()
  })
  afterEach(async () => {
    await receiver.stop()
    await twin.stop()
  })

  it('verify, and do not when anything is changed', async () => {
    twin.listenAt(`${receiver.url}?tenant=a%20b`)
    await twin.messageReceived({ from: ADA, body: 'Größe & Preis + "Ö" = 5 €' })
    const { headers, body, url } = receiver.received[0]!
    const fields = Object.fromEntries(new URLSearchParams(body.toString('utf8')))
    const verify = (token: string, given: Record<string, string>) =>
      officialTwilio.validateRequest(token, headers['x-twilio-signature'] ?? '', url, given)
    expect(verify(twin.authToken, fields)).toBe(true)
    expect(verify('another-token', fields)).toBe(false)
    expect(verify(twin.authToken, { ...fields, Body: 'Yes' })).toBe(false)
  })

  it('do not verify when they are forged', async () => {
    twin.listenAt(receiver.url)
    twin.webhooks.forgeBeforeNext(1)
    await twin.messageReceived({ from: ADA, body: 'Hello' })
    const verdicts = receiver.received.map(({ headers, body, url }) =>
      officialTwilio.validateRequest(
        twin.authToken,
        headers['x-twilio-signature'] ?? '',
        url,
        Object.fromEntries(new URLSearchParams(body.toString('utf8'))),
      ),
    )
    expect(verdicts).toEqual([false, true])
  })
})
