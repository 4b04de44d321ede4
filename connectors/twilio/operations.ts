import {
  defineOperation,
  PermanentError,
  type Classification,
  type OperationRequest,
  type ProviderAnswer,
  type RequestContext,
} from 'trestle'
import { z } from 'zod'
import { account, message, messagePage } from './contracts.ts'
import { findSent, LOOKUP_PAGE_SIZE } from './findSent.ts'

/**
 * How long a message may take until the list shows it. Twilio documents nothing, so an early empty list is not
 * believed; a minute is a cautious guess.
 */
const SETTLE_MS = 60_000

/** E.164, or a channel address such as `whatsapp:+15551234567`. Anything else Twilio would rewrite, and a look-up would miss it. */
const address = z.string().regex(/^(?:\+[1-9]\d{1,14}|[a-z_]+:\S+)$/, {
  message:
    'write a number as E.164, such as +15551234567, or a channel address, such as whatsapp:+15551234567',
})

const newMessage = z
  .object({
    to: address,
    /** A number of the account, a short code or an alphanumeric sender. This or `messagingServiceSid`. */
    from: z.string().min(1).optional(),
    messagingServiceSid: z.string().regex(/^MG/, { message: 'begins with MG' }).optional(),
    /** At most 1,600 characters; over 160 (70 with characters outside GSM-7) it costs several segments. */
    body: z.string().min(1).max(1600),
    /** Where Twilio reports the status: the endpoint's public URL. */
    statusCallback: z.url().optional(),
    /** Seconds that it may wait in Twilio's queue before it is dropped; 1 to 36,000, Twilio's default 36,000. */
    validityPeriod: z.number().int().min(1).max(36_000).optional(),
  })
  .refine(({ from, messagingServiceSid }) => from !== undefined || messagingServiceSid !== undefined, {
    message: 'needs a sender: from or messagingServiceSid',
  })

const createMessage = defineOperation({
  summary: 'send a message',
  input: newMessage,
  output: message,
  idempotency: {
    kind: 'lookup',
    settleAfterMs: SETTLE_MS,
    request: (input, context) => ({
      method: 'GET',
      path: messagesPath(context),
      query: { To: input.to, PageSize: LOOKUP_PAGE_SIZE },
    }),
    found: (answer, input, { begunAt }) => findSent(answer, input, begunAt),
  },
  request: (input, context) => ({
    method: 'POST',
    path: messagesPath(context),
    body: {
      form: fields([
        ['To', input.to],
        ['From', input.from],
        ['MessagingServiceSid', input.messagingServiceSid],
        ['Body', input.body],
        ['StatusCallback', input.statusCallback],
        ['ValidityPeriod', input.validityPeriod],
      ]),
    },
  }),
  classify: classifyCreate,
  describe: (input, made) => `message to ${input.to} (${made.status})`,
})

/** "If you get a 500 … on these requests, and you retry, it is possible for a customer to receive multiple messages" (error 20500). */
function classifyCreate(answer: ProviderAnswer): Classification | undefined {
  if (answer.status < 500) return undefined
  return {
    as: 'in_doubt',
    code: 'outcome_unknown',
    reason: `Twilio answered ${answer.status}; the message may have been sent all the same.`,
  }
}

const retrieveMessage = defineOperation({
  summary: 'read a message',
  input: z.object({ sid: z.string().regex(/^(SM|MM)/, { message: 'begins with SM or MM' }) }),
  output: message,
  idempotency: { kind: 'natural' },
  request: ({ sid }, context) => ({
    method: 'GET',
    path: `${accountPath(context)}/Messages/${encodeURIComponent(sid)}.json`,
  }),
  describe: (_input, found) => `message to ${found.to} (${found.status})`,
})

const listMessages = defineOperation({
  summary: 'list messages',
  input: z.object({
    to: z.string().optional(),
    from: z.string().optional(),
    /** `YYYY-MM-DD` in UTC. Messages that were not sent yet have no such date. */
    dateSent: z.iso.date().optional(),
    dateSentBefore: z.iso.date().optional(),
    dateSentAfter: z.iso.date().optional(),
    /** 1 to 1,000; Twilio's default is 50. */
    pageSize: z.number().int().min(1).max(1000).optional(),
    /** `next_page_uri` of the page before. The other fields are then left out: it holds them. */
    nextPageUri: z.string().optional(),
  }),
  output: messagePage,
  idempotency: { kind: 'natural' },
  request(input, context) {
    if (input.nextPageUri !== undefined) return nextPage(input.nextPageUri, context)
    return {
      method: 'GET',
      path: messagesPath(context),
      query: {
        To: input.to,
        From: input.from,
        DateSent: input.dateSent,
        'DateSent<': input.dateSentBefore,
        'DateSent>': input.dateSentAfter,
        PageSize: input.pageSize,
      },
    }
  },
  describe: (_input, page) => `${page.messages.length} message(s)`,
})

const retrieveAccount = defineOperation({
  summary: 'read the account',
  input: z.object({}),
  output: account,
  idempotency: { kind: 'natural' },
  request: (_input, context) => ({ method: 'GET', path: `${accountPath(context)}.json` }),
  answer: withoutToken,
  describe: (_input, found) => `account ${found.friendly_name} (${found.status})`,
  secret: ['auth_token'],
})

/** Twilio answers the account's auth token in clear text. It must not reach the journal. */
function withoutToken({ json }: ProviderAnswer): unknown {
  if (json === null || typeof json !== 'object' || Array.isArray(json)) return json
  return Object.fromEntries(Object.entries(json).filter(([name]) => name !== 'auth_token'))
}

function accountPath({ settings }: RequestContext): string {
  const sid = settings['accountSid'] ?? ''
  if (!/^AC[0-9a-fA-F]{32}$/.test(sid))
    throw new PermanentError(
      'setting_invalid',
      `The setting "accountSid" of the Twilio connection is "${sid}". It is AC and 32 hexadecimal digits, as the console shows it.`,
    )
  return `/2010-04-01/Accounts/${sid}`
}

function messagesPath(context: RequestContext): string {
  return `${accountPath(context)}/Messages.json`
}

/** A page's address comes from an answer, so it is only followed within the account's own list. */
function nextPage(uri: string, context: RequestContext): OperationRequest {
  const url = new URL(uri, 'https://api.twilio.com')
  const path = messagesPath(context)
  if (url.origin !== 'https://api.twilio.com' || url.pathname !== path)
    throw new PermanentError(
      'page_uri_invalid',
      `"${uri}" is no page of this account's messages. Pass the next_page_uri of an earlier page as it is.`,
    )
  return { method: 'GET', path, query: Object.fromEntries(url.searchParams) }
}

function fields(all: readonly (readonly [string, string | number | undefined])[]): [string, string][] {
  return all.flatMap(([name, value]) =>
    value === undefined ? [] : [[name, String(value)] as [string, string]],
  )
}

export const operations = {
  messages: { create: createMessage, retrieve: retrieveMessage, list: listMessages },
  account: { retrieve: retrieveAccount },
}
