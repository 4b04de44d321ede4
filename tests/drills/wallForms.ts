import { DAY, SECOND } from '../../src/base/index.ts'
import type { TwinAnswer } from '../../src/testing/index.ts'

/** Beside the witness file: one line for each request that the wall saw. */
export const ATTEMPTS_FILE = 'attempts.jsonl'

/** A request as the wall saw it. Times in milliseconds since 1970. */
export interface Attempt {
  /** Empty for a probe. */
  readonly ref: string
  readonly at: number
  readonly answeredAt: number
  readonly status: number
  /** How it was refused. */
  readonly form: Form | undefined
  /** The time that the refusal named. */
  readonly notBefore: number | undefined
}

/** Ways to say when to come again. RFC 9110, 10.2.3 and 5.6.7; draft-ietf-httpapi-ratelimit-headers. */
export const SINGLE_FORMS = [
  '429 seconds',
  '503 seconds',
  '429 10^9',
  '429 date',
  '503 date',
  '429 past date',
  '429 zero',
  '503 negative',
  '429 RateLimit',
  '429 nothing',
  '503 past date',
  '503 zero',
  '429 negative',
] as const
export type Form = (typeof SINGLE_FORMS)[number] | 'limit'

/** Times during which everybody is refused, from the first request on. */
export const WALLS: readonly { readonly fromMs: number; readonly toMs: number; readonly form: Form }[] = [
  { fromMs: 3 * SECOND, toMs: 7 * SECOND, form: '429 seconds' },
  { fromMs: 10 * SECOND, toMs: 14 * SECOND, form: '503 date' },
]

const WAIT_MS = 2 * SECOND
const ABSURD_SECONDS = 1_000_000_000

/**
 * The refusal in this form, and the time that it names: `until`, or two seconds from now, or what the form says.
 */
export function chooseForm(
  form: Form,
  now: number,
  until: number,
): { readonly form: Form; readonly answer: TwinAnswer; readonly notBefore: number } {
  const seconds = Math.ceil((until > now ? until - now : WAIT_MS) / SECOND)
  const date = new Date(Math.ceil((now + seconds * SECOND) / SECOND) * SECOND)
  const status = form.startsWith('503') ? 503 : 429
  const refuse = (headers: Readonly<Record<string, string>>, notBefore: number) => ({
    form,
    notBefore,
    answer: { status, headers, json: { error: form } },
  })
  switch (form) {
    case 'limit':
    case '429 seconds':
    case '503 seconds':
      return refuse({ 'retry-after': String(seconds) }, now + seconds * SECOND)
    case '429 date':
    case '503 date':
      return refuse({ 'retry-after': date.toUTCString() }, date.getTime())
    case '429 past date':
    case '503 past date':
      return refuse({ 'retry-after': new Date(now - DAY).toUTCString() }, now)
    case '429 zero':
    case '503 zero':
      return refuse({ 'retry-after': '0' }, now)
    case '429 negative':
    case '503 negative':
      return refuse({ 'retry-after': '-5' }, now)
    case '429 RateLimit':
      return refuse(
        { ratelimit: '"ten-seconds";r=0;t=2', 'ratelimit-policy': '"ten-seconds";q=200;w=10' },
        now + 2 * SECOND,
      )
    case '429 nothing':
      return refuse({}, now)
    case '429 10^9':
      return refuse({ 'retry-after': String(ABSURD_SECONDS) }, now + ABSURD_SECONDS * SECOND)
  }
}
