/**
 * Twilio: text messages, by the REST API 2010-04-01 and messaging webhooks.
 *
 * Owns: what the API and the webhooks look like, how a message is found again after a lost answer, the limits.
 * Leaves to others: sending, signatures, retries. The stand-in for tests is `trestle/connectors/twilio/twin`.
 */
import { defineConnector, type Classification, type ProviderAnswer } from 'trestle'
import { operations } from './operations.ts'
import { events, webhooks } from './webhooks.ts'

export const twilio = defineConnector({
  name: 'twilio',
  title: 'Twilio',
  baseUrl: 'https://api.twilio.com',
  auth: { kind: 'basic' },
  settings: { accountSid: 'The account that messages are sent from: AC and 32 hexadecimal digits' },
  operations,
  events,
  webhooks,
  classify,
  limits: [
    {
      name: 'requests',
      allowed: 100,
      windowMs: 1000,
      concurrency: 50,
      source:
        'Twilio publishes no rate; it limits requests in flight per account (100 by default, as reported) and answers 429 with error 20429: https://www.twilio.com/docs/api/errors/20429 (read 2026-11-22). These figures are our own, kept below that',
    },
  ],
  check: { operation: 'account.retrieve', input: {} },
})

/** What to do about errors that people meet often. Source: https://www.twilio.com/docs/api/errors (read 2026-11-22). */
const ADVICE: Readonly<Record<number, string>> = {
  20003: 'Check the account SID with its auth token, or the API key with its secret.',
  21211: 'The number in "to" does not exist in this form; write it as E.164.',
  21408: 'Allow the country under Messaging, Geo permissions in the console.',
  21606: 'The number in "from" cannot send messages, or is not of this account.',
  21608: 'A trial account may only write to numbers verified in the console.',
  21610: 'The recipient answered STOP. Send nothing until START comes from them.',
  21614: 'The number in "to" cannot receive text messages.',
  21617: 'The text is longer than 1,600 characters.',
}

/**
 * What is special about Twilio's answers: errors have numbers (`code`), which say more than the status, and a 429 was
 * "never processed and is always safe to retry" (error 20429).
 */
function classify(answer: ProviderAnswer, now: number): Classification | undefined {
  const { status } = answer
  if (status < 400 || status >= 500) return undefined
  const { code, reason } = errorOf(answer)
  if (status === 429) {
    const seconds = Number(answer.headers['retry-after'])
    return {
      as: 'retry',
      code: 'rate_limited',
      reason,
      ...(seconds > 0 ? { retryAt: now + seconds * 1000 } : {}),
    }
  }
  if (status === 401) return { as: 'unauthorized', code: 'credential_refused', reason }
  if (status === 408) return undefined
  return { as: 'failed', code: code === undefined ? `status_${status}` : `twilio_${code}`, reason }
}

/** `{ code, message, more_info, status }` as a number and a sentence. */
function errorOf({ json, status }: ProviderAnswer): { code: number | undefined; reason: string } {
  const error = (json ?? {}) as { code?: unknown; message?: unknown }
  const code = typeof error.code === 'number' ? error.code : undefined
  const message = typeof error.message === 'string' ? error.message : `Twilio answered ${status}`
  if (code === undefined) return { code, reason: message }
  const advice = ADVICE[code] ?? `See https://www.twilio.com/docs/api/errors/${code}.`
  return { code, reason: `${message} (${code}). ${advice}` }
}
