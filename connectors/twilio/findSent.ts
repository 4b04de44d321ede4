import { PermanentError, RetryableError, type ProviderAnswer } from 'trestle'
import { messagePage, type Message } from './contracts.ts'

/** What was asked to be sent. */
export interface Wanted {
  readonly to: string
  readonly from?: string | undefined
  readonly messagingServiceSid?: string | undefined
  readonly body: string
}

/** Twilio puts this before the text of every message of a trial account. */
const TRIAL_PREFIX = 'Sent from your Twilio trial account - '

/**
 * How far Twilio's clock may be behind ours. A message created in this span before our first attempt may be ours or
 * an earlier one, which only a person can tell.
 */
const CLOCK_DISTANCE_MS = 60_000

/** Most messages on one page of the list. */
export const LOOKUP_PAGE_SIZE = 1000

/**
 * Finds the message of an attempt whose answer never came, among all messages to the same number. Twilio knows no
 * idempotency key and shows nothing of the request but sender, text and time. So exactly one message that fits
 * beyond doubt is taken for ours; none at all means that it was not sent; everything else is thrown, so that the step
 * stays in doubt and a person decides.
 *
 * Not filtered by `DateSent`: it is `null` while a message is still queued, and a message missed is sent twice.
 */
export function findSent(answer: ProviderAnswer, wanted: Wanted, begunAt: number): Message | undefined {
  const page = messagePage.safeParse(answer.json)
  if (answer.status !== 200 || !page.success)
    throw new RetryableError(
      'lookup_unanswered',
      `Twilio answered ${answer.status} when asked for the messages to ${wanted.to}, which tells nothing. Look in its message log.`,
    )
  // Twilio's times have whole seconds.
  const begunSecond = Math.floor(begunAt / 1000) * 1000
  const certain: Message[] = []
  const doubtful: Message[] = []
  for (const one of page.data.messages) {
    const likeness = textLikeness(one.body, wanted.body)
    const createdAt = Date.parse(one.date_created)
    if (likeness === 'other' || createdAt < begunSecond - CLOCK_DISTANCE_MS || !hasSender(one, wanted))
      continue
    if (likeness === 'same' && createdAt >= begunSecond) certain.push(one)
    else doubtful.push(one)
  }
  const [found] = certain
  if (found && certain.length === 1 && doubtful.length === 0) return found
  if (certain.length + doubtful.length > 0)
    throw new PermanentError(
      'lookup_ambiguous',
      `Twilio has ${certain.length + doubtful.length} messages to ${wanted.to} that may be this one: ${[...certain, ...doubtful].map(({ sid }) => sid).join(', ')}. Compare them in Twilio's message log.`,
    )
  if (page.data.next_page_uri !== null)
    throw new PermanentError(
      'lookup_ambiguous',
      `Twilio has more than ${LOOKUP_PAGE_SIZE} messages to ${wanted.to}, of which this one is not among the newest. Look in its message log.`,
    )
  return undefined
}

/** Whether the message came from our API calls and from the wanted sender, as far as Twilio tells it already. */
function hasSender(one: Message, wanted: Wanted): boolean {
  if (one.direction !== 'outbound-api') return false
  if (wanted.messagingServiceSid !== undefined && one.messaging_service_sid !== wanted.messagingServiceSid)
    return false
  return wanted.from === undefined || one.from === null || one.from === wanted.from
}

/**
 * `similar` where Twilio may have changed the text: a messaging service replaces characters that GSM-7 lacks (smart
 * encoding), and a redacted message has lost its text.
 */
function textLikeness(sent: string | null, wanted: string): 'same' | 'similar' | 'other' {
  if (sent === wanted || sent === TRIAL_PREFIX + wanted) return 'same'
  if (sent === null || sent === '') return 'similar'
  const withoutPrefix = sent.startsWith(TRIAL_PREFIX) ? sent.slice(TRIAL_PREFIX.length) : sent
  return lettersOf(withoutPrefix) === lettersOf(wanted) ? 'similar' : 'other'
}

function lettersOf(text: string): string {
  return text
    .normalize('NFKD')
    .replaceAll(/[^\p{L}\p{N}]/gu, '')
    .toLowerCase()
}
