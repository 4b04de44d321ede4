import { Refusal, route, type TwinAnswer, type TwinRequest, type TwinRoute } from 'trestle/testing'

type TwinStatus =
  | 'accepted'
  | 'queued'
  | 'sending'
  | 'sent'
  | 'delivered'
  | 'undelivered'
  | 'failed'
  | 'received'

/** A message as the twin keeps it. Times in milliseconds since 1970. */
export interface TwinMessage {
  readonly sid: string
  readonly direction: 'outbound-api' | 'inbound'
  readonly to: string
  readonly from: string | undefined
  readonly messagingServiceSid: string | undefined
  readonly body: string
  readonly status: TwinStatus
  readonly statusCallback: string | undefined
  readonly createdAt: number
  readonly updatedAt: number
  readonly sentAt: number | undefined
  readonly errorCode: number | undefined
}

/** How the delivery to a number ends, where it is not delivered. */
export interface Fate {
  readonly status: 'undelivered' | 'failed'
  /** Such as 30003, unreachable handset. */
  readonly errorCode: number
}

export interface TwilioState {
  /** By sid, oldest first. */
  readonly messages: Map<string, TwinMessage>
  /** Numbers that answered STOP. */
  readonly unsubscribed: Set<string>
  readonly fates: Map<string, Fate>
}

/** What the routes ask of the twin. */
export interface TwilioWorld {
  readonly accountSid: string
  readonly authToken: string
  readonly numbers: readonly string[]
  readonly messagingServiceSid: string
  readonly trial: boolean
  readonly state: TwilioState
  /** Messages as the list shows them, which may lag behind; oldest first. */
  listed(): readonly TwinMessage[]
  /** Takes a message over and starts its way to the recipient. */
  accept(
    message: Pick<TwinMessage, 'to' | 'from' | 'messagingServiceSid' | 'body' | 'statusCallback'>,
  ): TwinMessage
}

type Request = TwinRequest<TwilioState>

const ROOT = '/2010-04-01/Accounts/:account'

/** The number that Twilio gives to a refusal of this status, where no other fits better. */
const CODES: Readonly<Record<number, number>> = { 401: 20003, 404: 20404, 429: 20429, 500: 20500, 503: 20503 }

/** `{ code, message, more_info, status }`. */
export function errorBody(status: number, message: string, code = CODES[status] ?? 20001): unknown {
  return { code, message, more_info: `https://www.twilio.com/docs/errors/${code}`, status }
}

function refuse(status: number, message: string, code?: number): never {
  throw new Refusal({ status, json: errorBody(status, message, code) })
}

export function twilioRoutes(world: TwilioWorld): readonly TwinRoute<TwilioState>[] {
  const requireAccount = ({ params, path }: Request): void => {
    if (params['account']?.replace(/\.json$/, '') !== world.accountSid)
      refuse(404, `The requested resource ${path} was not found`)
  }
  const listPath = `/2010-04-01/Accounts/${world.accountSid}/Messages.json`

  return [
    route('GET', ROOT, (request) => {
      requireAccount(request)
      return { status: 200, json: accountAnswer(world, request.now) }
    }),

    route('POST', `${ROOT}/Messages.json`, (request) => {
      requireAccount(request)
      const wanted = checkNewMessage(request.form, world)
      const made = world.accept(wanted)
      request.effect({
        kind: 'message.sent',
        key: `${wanted.to} ${wanted.body}`,
        ref: made.sid,
        summary: `message to ${wanted.to}: ${wanted.body}`,
      })
      return { status: 201, json: messageAnswer(made, world.accountSid) }
    }),

    route('GET', `${ROOT}/Messages.json`, (request) => {
      requireAccount(request)
      return listAnswer(request.query, world, listPath)
    }),

    route('GET', `${ROOT}/Messages/:file`, (request) => {
      requireAccount(request)
      const found = world.state.messages.get(request.params['file']?.replace(/\.json$/, '') ?? '')
      if (!found) refuse(404, `The requested resource ${request.path} was not found`)
      return { status: 200, json: messageAnswer(found, world.accountSid) }
    }),
  ]
}

/** Refuses with Twilio's own numbers what Twilio refuses. */
function checkNewMessage(form: URLSearchParams, world: TwilioWorld): Parameters<TwilioWorld['accept']>[0] {
  const field = (name: string): string | undefined => form.get(name) ?? undefined
  const to = field('To')
  const from = field('From')
  const messagingServiceSid = field('MessagingServiceSid')
  const body = field('Body')
  if (!to) return refuse(400, "A 'To' phone number is required.", 21604)
  if (!from && !messagingServiceSid) return refuse(400, "A 'From' phone number is required.", 21603)
  if (!body) return refuse(400, 'Message body is required.', 21602)
  if (body.length > 1600) refuse(400, 'The concatenated message body exceeds the 1600 character limit', 21617)
  if (!/^\+[1-9]\d{6,14}$/.test(to)) refuse(400, `Invalid 'To' Phone Number: ${to}`, 21211)
  if (from && !world.numbers.includes(from))
    refuse(
      400,
      `The 'From' phone number ${from} is not a valid, SMS-capable inbound phone number or short code for your account.`,
      21606,
    )
  if (messagingServiceSid && messagingServiceSid !== world.messagingServiceSid)
    refuse(404, 'The Messaging Service Sid was not found', 20404)
  if (world.state.unsubscribed.has(to)) refuse(400, 'Attempt to send to unsubscribed recipient', 21610)
  const encoded = messagingServiceSid ? smartEncoded(body) : body
  return {
    to,
    from,
    messagingServiceSid,
    body: world.trial ? `Sent from your Twilio trial account - ${encoded}` : encoded,
    statusCallback: field('StatusCallback'),
  }
}

/** Messaging services replace characters that GSM-7 lacks by ones that look alike. */
function smartEncoded(text: string): string {
  return text
    .replaceAll(/[\u2018\u2019]/g, "'")
    .replaceAll(/[\u201c\u201d]/g, '"')
    .replaceAll(/[\u2013\u2014]/g, '-')
    .replaceAll('\u2026', '...')
}

function listAnswer(query: URLSearchParams, world: TwilioWorld, path: string): TwinAnswer {
  const pageSize = Math.min(Number(query.get('PageSize') ?? 50), 1000)
  if (!Number.isInteger(pageSize) || pageSize < 1) refuse(400, 'Invalid PageSize', 20006)
  const page = Number(query.get('Page') ?? 0)
  const token = query.get('PageToken')
  const found = world
    .listed()
    .filter((message) => fits(message, query))
    .reverse()
  const start = token === null ? 0 : found.findIndex(({ sid }) => `PA${sid}` === token) + 1
  const shown = found.slice(start, start + pageSize)
  const last = shown.at(-1)
  const more = start + pageSize < found.length && last !== undefined
  const uri = (wanted: number, after?: string): string => {
    const next = new URLSearchParams(query)
    next.set('PageSize', String(pageSize))
    next.set('Page', String(wanted))
    next.delete('PageToken')
    if (after !== undefined) next.set('PageToken', `PA${after}`)
    return `${path}?${next.toString()}`
  }
  return {
    status: 200,
    json: {
      first_page_uri: uri(0),
      end: start + shown.length - 1,
      previous_page_uri: null,
      messages: shown.map((message) => messageAnswer(message, world.accountSid)),
      uri: uri(page),
      page_size: pageSize,
      start,
      next_page_uri: more ? uri(page + 1, last.sid) : null,
      page,
    },
  }
}

/** A filter by `DateSent` leaves out what was not sent yet. It goes by the day, also where a time is given. */
function fits(message: TwinMessage, query: URLSearchParams): boolean {
  const sentOn =
    message.sentAt === undefined ? undefined : new Date(message.sentAt).toISOString().slice(0, 10)
  const dated = (name: string, holds: (day: string, bound: string) => boolean): boolean => {
    const bound = query.get(name)
    return bound === null || (sentOn !== undefined && holds(sentOn, bound.slice(0, 10)))
  }
  const is = (name: string, value: string | undefined): boolean =>
    query.get(name) === null || query.get(name) === value
  return (
    is('To', message.to) &&
    is('From', message.from) &&
    dated('DateSent', (day, bound) => day === bound) &&
    dated('DateSent<', (day, bound) => day <= bound) &&
    dated('DateSent>', (day, bound) => day >= bound)
  )
}

/** RFC 2822 with whole seconds: `Sun, 22 Nov 2026 09:00:00 +0000`. */
function rfc2822(ms: number): string {
  return new Date(ms).toUTCString().replace('GMT', '+0000')
}

function messageAnswer(message: TwinMessage, accountSid: string): unknown {
  const uri = `/2010-04-01/Accounts/${accountSid}/Messages/${message.sid}`
  const priced = message.sentAt !== undefined && message.direction === 'outbound-api'
  return {
    account_sid: accountSid,
    api_version: '2010-04-01',
    body: message.body,
    date_created: rfc2822(message.createdAt),
    date_sent: message.sentAt === undefined ? null : rfc2822(message.sentAt),
    date_updated: rfc2822(message.updatedAt),
    direction: message.direction,
    error_code: message.errorCode ?? null,
    error_message: null,
    from: message.from ?? null,
    messaging_service_sid: message.messagingServiceSid ?? null,
    num_media: '0',
    num_segments: message.from === undefined ? '0' : String(Math.ceil(message.body.length / 160)),
    price: priced ? '-0.00790' : null,
    price_unit: priced ? 'USD' : null,
    sid: message.sid,
    status: message.status,
    subresource_uris: { media: `${uri}/Media.json` },
    to: message.to,
    uri: `${uri}.json`,
  }
}

function accountAnswer(world: TwilioWorld, now: number): unknown {
  return {
    auth_token: world.authToken,
    date_created: rfc2822(now),
    date_updated: rfc2822(now),
    friendly_name: 'Salon',
    owner_account_sid: world.accountSid,
    sid: world.accountSid,
    status: 'active',
    subresource_uris: { messages: `/2010-04-01/Accounts/${world.accountSid}/Messages.json` },
    type: world.trial ? 'Trial' : 'Full',
    uri: `/2010-04-01/Accounts/${world.accountSid}.json`,
  }
}
