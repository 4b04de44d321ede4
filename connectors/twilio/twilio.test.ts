import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  describeConnector,
  startSubject,
  type ConformanceOptions,
  type Subject,
} from '../../tests/conformance/suite.ts'
import type { FakeClock } from '../../src/testing/index.ts'
import { twilio } from './index.ts'
import { createTwilioTwin, type TwilioTwin, type TwilioTwinOptions } from './twin.ts'

const HOUR = 3_600_000
const ACCOUNT = `AC${'0123456789abcdef'.repeat(2)}`
const NUMBER = '+15005550006'
const ADA = '+447700900123'
const hello = { to: ADA, from: NUMBER, body: 'Your appointment is on Tuesday at 10:00.' }

const authorization = `Basic ${Buffer.from(`${ACCOUNT}:twilio-auth-token`).toString('base64')}`

/** Messages stay in the queue for an hour, so that a look-up finds what the call answered. */
const optionsWith = (twinOptions: TwilioTwinOptions = {}): ConformanceOptions<TwilioTwin> => ({
  connector: twilio,
  folder: new URL('.', import.meta.url),
  twin: (clock) => createTwilioTwin({ clock, sendAfterMs: HOUR, deliverAfterMs: HOUR, ...twinOptions }),
  settings: { accountSid: ACCOUNT },
  authorize: () => ({ authorization }),
  samples: {
    'messages.create': {
      input: () => hello,
      lookupTakesOthers: 'Twilio shows nothing by which two equal texts to one number could be told apart',
    },
    'messages.retrieve': {
      input: async (subject) => ({ sid: await createdSid(subject) }),
    },
    'messages.list': {
      input: async (subject) => {
        await createdSid(subject)
        return { to: ADA, pageSize: 10 }
      },
    },
    'account.retrieve': { input: () => ({}) },
  },
  webhooks: {
    secrets: ['twilio-auth-token'],
    async send(twin, url) {
      twin.listenAt(url)
      await twin.messageReceived({ from: ADA, body: 'See you then, I’ll be on time & alone' })
      await post(twin, { To: ADA, From: NUMBER, Body: 'Hello', StatusCallback: url })
      twin.setFate('+447700900999', { status: 'undelivered', errorCode: 30_003 })
      await post(twin, {
        To: '+447700900999',
        From: NUMBER,
        Body: 'Hello',
        StatusCallback: `${url}?tenant=a%20b`,
      })
      await (twin.clock as FakeClock).advance(2 * HOUR)
      await twin.webhooks.idle()
    },
  },
})
const conformance = optionsWith()

/** Stops the twin; throws if it made a mistake of its own. */
async function stopSound(subject: Subject<TwilioTwin>): Promise<void> {
  await subject.stop()
  const errors = subject.twin.ownErrors()
  if (errors.length > 0) throw new Error(errors.join('; '))
}

async function createdSid(subject: Subject<TwilioTwin>): Promise<string> {
  const { sid } = (await (await subject.call('messages.create', hello)).output()) as { sid: string }
  return sid
}

function post(twin: TwilioTwin, fields: Record<string, string>): Promise<Response> {
  return fetch(`${twin.url}/2010-04-01/Accounts/${ACCOUNT}/Messages.json`, {
    method: 'POST',
    headers: { authorization },
    body: new URLSearchParams(fields),
  })
}

describeConnector(conformance)

describe('twilio operations', () => {
  let subject: Subject<TwilioTwin>

  beforeEach(async () => {
    subject = await startSubject(conformance)
  })
  afterEach(() => stopSound(subject))

  it('send nothing but what was asked for, as a form', async () => {
    await subject.call('messages.create', { ...hello, body: 'Größe & Preis: 5 €', validityPeriod: 600 })
    const { headers, body } = subject.twin.requests().at(-1)!
    expect(headers['content-type']).toBe('application/x-www-form-urlencoded')
    expect([...new URLSearchParams(body)]).toEqual([
      ['To', ADA],
      ['From', NUMBER],
      ['Body', 'Größe & Preis: 5 €'],
      ['ValidityPeriod', '600'],
    ])
  })

  it.each([
    [{ ...hello, to: '(0)770 0900123' }, /E\.164/],
    [{ to: ADA, body: 'Hello' }, /sender/],
    [{ ...hello, body: '' }, /body/],
    [{ ...hello, body: 'x'.repeat(1601) }, /body/],
  ])('refuse input that Twilio would refuse or rewrite: %j', async (input, reason) => {
    await expect(subject.call('messages.create', input)).rejects.toThrow(reason)
    expect(subject.twin.requestCount()).toBe(0)
  })

  it('refuse an account that is none, since it stands in every path', () => {
    const request = () =>
      twilio.operations.account.retrieve.request(
        {},
        { settings: { accountSid: 'AC1/..' }, idempotencyKey: 'k', begunAt: 0 },
      )
    expect(request).toThrow(/accountSid/)
  })

  it('fail for good when the recipient answered STOP, and say what to do', async () => {
    await subject.twin.messageReceived({ from: ADA, body: ' stop ' })
    const { classification } = await subject.call('messages.create', hello)
    expect(classification).toMatchObject({
      as: 'failed',
      code: 'twilio_21610',
      reason: expect.stringContaining('STOP'),
    })
    await subject.twin.messageReceived({ from: ADA, body: 'START' })
    expect((await subject.call('messages.create', hello)).classification.as).toBe('succeeded')
  })

  it('take a 429 for not done and a 500 for in doubt, as Twilio documents them', async () => {
    subject.twin.faults.failNext(1, 429)
    expect((await subject.call('messages.create', hello)).classification).toMatchObject({ as: 'retry' })
    subject.twin.faults.failNext(1, 500, { acted: true })
    expect((await subject.call('messages.create', hello)).classification).toMatchObject({
      as: 'in_doubt',
      reason: expect.stringContaining('may have been sent'),
    })
    expect(subject.twin.effects()).toHaveLength(1)
  })

  it('page through the list by next_page_uri, each message once', async () => {
    for (let i = 1; i <= 5; i++) await subject.call('messages.create', { ...hello, body: `Message ${i}` })
    const seen: string[] = []
    let input: object | undefined = { to: ADA, pageSize: 2 }
    while (input) {
      const page = (await (await subject.call('messages.list', input)).output()) as {
        messages: { body: string }[]
        next_page_uri: string | null
      }
      seen.push(...page.messages.map(({ body }) => body))
      input = page.next_page_uri === null ? undefined : { nextPageUri: page.next_page_uri }
    }
    expect(seen).toEqual([5, 4, 3, 2, 1].map((i) => `Message ${i}`))
  })

  it('follow no page outside the list of the account', async () => {
    for (const nextPageUri of [
      `https://evil.example/2010-04-01/Accounts/${ACCOUNT}/Messages.json?Page=1`,
      `//evil.example/2010-04-01/Accounts/${ACCOUNT}/Messages.json?Page=1`,
      '/2010-04-01/Accounts/AC00000000000000000000000000000000/Messages.json?Page=1',
    ])
      await expect(subject.call('messages.list', { nextPageUri })).rejects.toThrow(/no page of this account/)
  })

  it('keep the auth token that Twilio answers out of the output', async () => {
    const called = await subject.call('account.retrieve', {})
    expect(called.answer.text, 'Twilio does answer it').toContain('twilio-auth-token')
    expect(JSON.stringify(await called.output())).not.toContain('twilio-auth-token')
  })
})

describe('the look-up for a message', () => {
  let subject: Subject<TwilioTwin>
  let begunAt: number

  beforeEach(async () => {
    subject = await startSubject(conformance)
    await subject.clock.advance(HOUR + 700)
    begunAt = subject.clock.now()
  })
  afterEach(() => stopSound(subject))

  const lookUp = (input: object = hello) => subject.lookUp('messages.create', input, { key: 'k', begunAt })
  const send = (input: object = hello) => subject.call('messages.create', input)

  it('finds the message whose answer was lost, even while it waits in the queue and has no date_sent', async () => {
    subject.twin.faults.resetAfterActing(1)
    await expect(send()).rejects.toThrow(/ECONNRESET|other side closed/)
    const [effect] = subject.twin.effects()
    expect(await lookUp()).toMatchObject({ sid: effect?.ref, status: 'queued', date_sent: null })
  })

  it('would miss it with a filter by DateSent, so that it would be sent twice', async () => {
    await send()
    const day = new Date(begunAt).toISOString().slice(0, 10)
    const page = (await (await subject.call('messages.list', { to: ADA, dateSentAfter: day })).output()) as {
      messages: unknown[]
    }
    expect(page.messages).toEqual([])
    expect(await lookUp()).toBeDefined()
  })

  it('finds a message created in the second in which the attempt began, since Twilio drops the fraction', async () => {
    expect(begunAt % 1000).toBe(700)
    await send()
    expect(Date.parse(((await lookUp()) as { date_created: string }).date_created)).toBeLessThan(begunAt)
  })

  it.each([
    ['another text', { ...hello, body: 'Something else' }],
    ['another number', { ...hello, to: '+447700900999' }],
  ])('takes %s for another message', async (_what, other) => {
    await send(other)
    expect(await lookUp()).toBeUndefined()
  })

  it('takes another sender for another message', async () => {
    await send({ to: ADA, messagingServiceSid: subject.twin.messagingServiceSid, body: hello.body })
    await subject.clock.advance(HOUR)
    expect(await lookUp({ ...hello, from: '+15005550001' })).toBeUndefined()
  })

  it('takes an equal text of long ago for another message', async () => {
    await send()
    await subject.clock.advance(HOUR)
    begunAt = subject.clock.now()
    expect(await lookUp()).toBeUndefined()
  })

  it('leaves it to a person when two messages fit', async () => {
    await send()
    await send()
    await expect(lookUp()).rejects.toThrow(/2 messages .* may be this one: SM\w+, SM\w+/)
  })

  it('leaves it to a person when an equal text came shortly before, which a slow clock could have made ours', async () => {
    await send()
    await subject.clock.advance(30_000)
    begunAt = subject.clock.now()
    await expect(lookUp()).rejects.toThrow(/may be this one/)
  })

  it('leaves it to a person when a messaging service re-encoded the text', async () => {
    const input = {
      to: ADA,
      messagingServiceSid: subject.twin.messagingServiceSid,
      body: '“10:00” – don’t be late…',
    }
    await send(input)
    expect([...subject.twin.state.messages.values()].at(-1)?.body).toBe('"10:00" - don\'t be late...')
    await expect(lookUp(input)).rejects.toThrow(/may be this one/)
  })

  it('leaves it to a person when there are more messages than one page, and ours is not among them', async () => {
    const answer = {
      status: 200,
      headers: {},
      text: '',
      json: { messages: [], next_page_uri: '/2010-04-01/Accounts/AC/Messages.json?Page=1' },
    }
    const { idempotency } = twilio.operations.messages.create
    const found = () =>
      idempotency.kind === 'lookup' &&
      idempotency.found(answer, hello, { begunAt, idempotencyKey: 'k', settings: { accountSid: ACCOUNT } })
    expect(found).toThrow(/more than 1000 messages/)
  })

  it('knows the sentence that a trial account puts before the text', async () => {
    const trial = await startSubject(optionsWith({ trial: true }))
    const at = trial.clock.now()
    await trial.call('messages.create', hello)
    expect(await trial.lookUp('messages.create', hello, { key: 'k', begunAt: at })).toMatchObject({
      body: `Sent from your Twilio trial account - ${hello.body}`,
    })
    await trial.stop()
  })

  it('proves nothing while the list lags, and tells the truth once it has settled', async () => {
    const lagging = await startSubject(optionsWith({ lagMs: 45_000 }))
    const at = lagging.clock.now()
    await lagging.call('messages.create', hello)
    expect(
      await lagging.lookUp('messages.create', hello, { key: 'k', begunAt: at }),
      'too early',
    ).toBeUndefined()
    const { idempotency } = twilio.operations.messages.create
    await lagging.clock.advance(idempotency.kind === 'lookup' ? idempotency.settleAfterMs : 0)
    expect(await lagging.lookUp('messages.create', hello, { key: 'k', begunAt: at })).toBeDefined()
    await lagging.stop()
  })

  it.each([
    ['an error', 503],
    ['garbage', undefined],
  ])('leaves it in doubt when %s answers', async (_what, status) => {
    await send()
    if (status === undefined) subject.twin.faults.garbage(1)
    else subject.twin.faults.failNext(1, status)
    await expect(lookUp()).rejects.toThrow(/tells nothing/)
  })
})

describe('twilio webhooks', () => {
  const read = (body: Record<string, string>) => twilio.webhooks?.events({ body, headers: {}, settings: {} })

  it('give each status of a message an id of its own, the same when Twilio repeats it', () => {
    const sent = { MessageSid: 'SM1', MessageStatus: 'sent', SmsStatus: 'sent' }
    expect(read(sent)).toEqual([{ id: 'SM1 sent', type: 'message.status', at: '' }])
    expect(read({ ...sent, RawDlrDoneDate: '2611221000' })).toEqual(read(sent))
    expect(read({ ...sent, MessageStatus: 'delivered' })).not.toEqual(read(sent))
  })

  it('tell a message that came in from the status of one that went out', () => {
    expect(read({ MessageSid: 'SM1', SmsStatus: 'received', Body: '' })).toEqual([
      { id: 'SM1 received', type: 'message.received', at: '' },
    ])
  })

  it('say what is wrong when another product calls', () => {
    expect(() => read({ CallSid: 'CA1', CallStatus: 'completed' })).toThrow(/only messaging webhooks/)
  })

  it('go queued, sent, delivered by the clock, or to the fate of the number', async () => {
    const subject = await startSubject(conformance)
    await subject.call('messages.create', hello)
    subject.twin.setFate(ADA, { status: 'failed', errorCode: 30_006 })
    await subject.call('messages.create', hello)
    const statuses = () => [...subject.twin.state.messages.values()].map(({ status }) => status)
    expect(statuses()).toEqual(['queued', 'queued'])
    await subject.clock.advance(HOUR)
    expect(statuses()).toEqual(['sent', 'failed'])
    await subject.clock.advance(HOUR)
    expect(statuses()).toEqual(['delivered', 'failed'])
    await subject.stop()
  })

  it('are tried once more by the twin where no connection came about, and not after an answer', async () => {
    const subject = await startSubject(conformance)
    subject.twin.listenAt('http://127.0.0.1:1/nobody')
    await subject.twin.messageReceived({ from: ADA, body: 'Hello' })
    await subject.clock.advance(HOUR)
    await subject.twin.webhooks.idle()
    subject.twin.listenAt(`${subject.twin.url}/refuses-with-401`)
    await subject.twin.messageReceived({ from: ADA, body: 'Hello' })
    await subject.clock.advance(HOUR)
    expect(subject.twin.deliveries().map(({ attempts }) => attempts.length)).toEqual([2, 1])
    await subject.stop()
  })
})
