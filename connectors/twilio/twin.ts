/**
 * A twin of Twilio: messages of the REST API 2010-04-01, status callbacks and incoming messages.
 *
 * A message goes its way by the clock: queued (accepted with a messaging service), sent, delivered, or the fate that
 * was set for the number; each step is called back. It is no kinder than Twilio: no idempotency key, a list that may
 * lag, whole seconds, `date_sent` only once sent, text that a messaging service re-encodes, one retry of a callback
 * and only where no connection came about.
 */
import { createHmac } from 'node:crypto'
import { createLaggingIndex, createTwin, systemClock, type Clock, type Twin } from 'trestle/testing'
import {
  errorBody,
  twilioRoutes,
  type Fate,
  type TwilioState,
  type TwilioWorld,
  type TwinMessage,
} from './twinRoutes.ts'

export type { Fate, TwilioState, TwinMessage } from './twinRoutes.ts'

export interface TwilioTwinOptions {
  /** Default `AC` and 32 digits. */
  readonly accountSid?: string
  /** Signs webhooks; with `accountSid` it also authorizes requests. Default `twilio-auth-token`. */
  readonly authToken?: string
  /** An API key and its secret, which authorize requests too. */
  readonly apiKey?: { readonly sid: string; readonly secret: string }
  /** The account's numbers. Default one. */
  readonly numbers?: readonly string[]
  /** Where incoming messages are told. */
  readonly incomingUrl?: string
  /** Until a message is sent, and from then until it is delivered. Default 200 and 300. */
  readonly sendAfterMs?: number
  readonly deliverAfterMs?: number
  /** How long the list of messages lags behind. Default 0. */
  readonly lagMs?: number
  /** A trial account puts a sentence before every text. Default false. */
  readonly trial?: boolean
  readonly seed?: string
  readonly clock?: Clock
  readonly witnessFile?: string
}

/** What can be made to happen at Twilio. */
export interface TwilioTwinMethods {
  /** Where incoming messages are told from now on. */
  readonly listenAt: (url: string | undefined) => void
  /** Somebody writes to the account's number. STOP and START are obeyed first, as Twilio does. */
  readonly messageReceived: (message: {
    readonly from: string
    readonly body: string
    readonly to?: string
  }) => Promise<TwinMessage>
  /** The next messages to this number end like this; `undefined` has them delivered again. */
  readonly setFate: (to: string, fate: Fate | undefined) => void
}

export type TwilioTwin = Twin<TwilioState> &
  TwilioTwinMethods & {
    readonly accountSid: string
    readonly authToken: string
    readonly number: string
    readonly messagingServiceSid: string
  }

/** By default Twilio tries once more, and only where no connection came about (webhook connection overrides, `rc=1`, `rp=ct`). */
const NO_RETRY_AFTER_ANSWER = Array.from({ length: 300 }, (_, i) => 300 + i)

const API_VERSION = '2010-04-01'

/** Makes a twin of Twilio. It does nothing before `start`. */
export function createTwilioTwin(options: TwilioTwinOptions = {}): TwilioTwin {
  const clock = options.clock ?? systemClock
  const accountSid = options.accountSid ?? `AC${'0123456789abcdef'.repeat(2)}`
  const authToken = options.authToken ?? 'twilio-auth-token'
  const numbers = options.numbers ?? ['+15005550006']
  const number = numbers[0] ?? ''
  const messagingServiceSid = `MG${'0123456789abcdef'.repeat(2)}`
  const state: TwilioState = { messages: new Map(), unsubscribed: new Set(), fates: new Map() }
  const listed = createLaggingIndex<TwinMessage>({ clock, lagMs: options.lagMs ?? 0 })
  let incomingUrl = options.incomingUrl
  let stopped = false

  const save = (message: TwinMessage): TwinMessage => {
    const saved = { ...message, updatedAt: clock.now() }
    state.messages.set(saved.sid, saved)
    listed.put(saved.sid, saved)
    return saved
  }

  const newSid = (): string => {
    let digits = ''
    for (let i = 0; i < 32; i++) digits += Math.floor(twin.random.next() * 16).toString(16)
    return `SM${digits}`
  }

  /** Moves a message on after `ms`, and tells its status callback. */
  const later = (
    ms: number,
    sid: string,
    change: (now: number) => Partial<TwinMessage>,
  ): Promise<TwinMessage> =>
    new Promise((resolve) => {
      clock.after(ms, () => {
        const before = state.messages.get(sid)
        if (stopped || !before) return
        const after = save({ ...before, ...change(clock.now()) })
        void callBack(after)
        resolve(after)
      })
    })

  const travel = async ({ sid, to }: TwinMessage): Promise<void> => {
    const fate = state.fates.get(to)
    if (fate?.status === 'failed') {
      await later(options.sendAfterMs ?? 200, sid, () => fate)
      return
    }
    await later(options.sendAfterMs ?? 200, sid, (now) => ({
      status: 'sent',
      sentAt: now,
      from: state.messages.get(sid)?.from ?? number,
    }))
    await later(options.deliverAfterMs ?? 300, sid, () => fate ?? { status: 'delivered' })
  }

  const send = async (url: string, fields: Readonly<Record<string, string | undefined>>): Promise<void> => {
    const given = Object.entries(fields).filter((field): field is [string, string] => field[1] !== undefined)
    await twin.webhooks.send({
      url,
      body: new URLSearchParams(given).toString(),
      contentType: 'application/x-www-form-urlencoded',
      headers: { 'user-agent': 'TwilioProxy/1.1' },
      sign: (body) => ({ headers: { 'x-twilio-signature': signature(authToken, url, body) } }),
    })
  }

  const callBack = async (message: TwinMessage): Promise<void> => {
    if (message.statusCallback === undefined) return
    const errorCode = message.errorCode === undefined ? undefined : String(message.errorCode)
    await send(message.statusCallback, {
      AccountSid: accountSid,
      ApiVersion: API_VERSION,
      ErrorCode: errorCode,
      From: message.from,
      MessageSid: message.sid,
      MessageStatus: message.status,
      MessagingServiceSid: message.messagingServiceSid,
      SmsSid: message.sid,
      SmsStatus: message.status,
      To: message.to,
    })
  }

  const world: TwilioWorld = {
    accountSid,
    authToken,
    numbers,
    messagingServiceSid,
    trial: options.trial ?? false,
    state,
    listed: () => listed.search(),
    accept(message) {
      const made = save({
        ...message,
        sid: newSid(),
        direction: 'outbound-api',
        status: message.messagingServiceSid === undefined ? 'queued' : 'accepted',
        createdAt: clock.now(),
        updatedAt: clock.now(),
        sentAt: undefined,
        errorCode: undefined,
      })
      void travel(made)
      return made
    },
  }

  const methods: TwilioTwinMethods = {
    listenAt(url) {
      incomingUrl = url
    },
    setFate(to, fate) {
      if (fate) state.fates.set(to, fate)
      else state.fates.delete(to)
    },
    async messageReceived({ from, body, to = number }) {
      const word = body.trim().toUpperCase()
      if (word === 'STOP') state.unsubscribed.add(from)
      if (word === 'START') state.unsubscribed.delete(from)
      const received = save({
        sid: newSid(),
        direction: 'inbound',
        to,
        from,
        messagingServiceSid: undefined,
        body,
        status: 'received',
        statusCallback: undefined,
        createdAt: clock.now(),
        updatedAt: clock.now(),
        sentAt: clock.now(),
        errorCode: undefined,
      })
      if (incomingUrl !== undefined)
        await send(incomingUrl, {
          AccountSid: accountSid,
          ApiVersion: API_VERSION,
          Body: body,
          From: from,
          FromCountry: 'US',
          MessageSid: received.sid,
          NumMedia: '0',
          NumSegments: '1',
          OptOutType: word === 'STOP' || word === 'START' ? word : undefined,
          SmsMessageSid: received.sid,
          SmsSid: received.sid,
          SmsStatus: 'received',
          To: to,
          ToCountry: 'US',
        })
      return received
    },
  }

  const credentials = new Set([basic(accountSid, authToken)])
  if (options.apiKey) credentials.add(basic(options.apiKey.sid, options.apiKey.secret))

  const core = createTwin<TwilioState>({
    name: 'twilio',
    state,
    routes: twilioRoutes(world),
    authorize: ({ headers }) =>
      credentials.has(headers['authorization'] ?? '')
        ? undefined
        : { status: 401, json: errorBody(401, 'Authenticate') },
    errorBody,
    headers: ({ number: count }) => ({ 'twilio-request-id': `RQ${String(count).padStart(32, '0')}` }),
    actions: {
      messageReceived: methods.messageReceived,
      setFate: ({ to, fate }: { to: string; fate?: Fate }) => methods.setFate(to, fate),
      listenAt: ({ url }: { url?: string }) => methods.listenAt(url),
    },
    webhooks: { retryAfterMs: [100], finalStatuses: NO_RETRY_AFTER_ANSWER, timeoutMs: 15_000 },
    seed: options.seed,
    clock,
    witnessFile: options.witnessFile,
  })
  const stop = core.stop.bind(core)
  const twin: TwilioTwin = Object.assign(core, methods, {
    accountSid,
    authToken,
    number,
    messagingServiceSid,
    stop: async () => {
      stopped = true
      await stop()
    },
  })
  return twin
}

function basic(username: string, password: string): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`
}

/** HMAC-SHA1 over the URL and the fields sorted by name, each followed by its value (https://www.twilio.com/docs/usage/security). */
function signature(authToken: string, url: string, form: string): string {
  const fields = [...new URLSearchParams(form)].sort(([a], [b]) => (a < b ? -1 : 1))
  const text = url + fields.map(([name, value]) => name + value).join('')
  return createHmac('sha1', authToken).update(text).digest('base64')
}
