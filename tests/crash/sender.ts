import { Agent, request } from 'undici'
import { pause, systemClock } from '../../src/base/index.ts'
import { signatureSchemes } from '../../src/define/index.ts'
import { signPayload } from '../../src/testing/index.ts'
import type { Delivery, Errand } from './load.ts'
import type { SourceLedger } from './ledgers.ts'

/** What became of a delivery, as its sender knows it. */
export interface Sent extends Delivery {
  /** When the first 2xx came, in milliseconds since 1970; `undefined` where none ever did. */
  acknowledgedAt: number | undefined
  attempts: number
}

export interface SenderOptions {
  /** The platform's addresses now, the preferred one first; empty while nothing is up. */
  readonly targets: () => readonly string[]
  readonly secret: string
  readonly ledger: SourceLedger
  readonly connections: number
  /** How long it waits for an answer. Default 5 s. */
  readonly answerWithinMs?: number
  /** Told of every answer and of every failure to get one, and after how many milliseconds. */
  readonly onAnswer?: (status: number | undefined, code: string | undefined, ms: number) => void
}

/** A provider that sends webhooks: again and again with the same id until it gets a 2xx. */
export interface Sender {
  /** Sends these errands, so many at once, and resolves when each was acknowledged or given up. */
  send(errands: Iterable<Errand>, atOnce: number): Promise<void>
  /** Every delivery that was begun, in that order. */
  readonly sent: readonly Sent[]
  close(): Promise<void>
}

const ANSWER_WITHIN_MS = 5_000
/** Of a 503 that does not say when to send again. */
export const NO_RETRY_AFTER = 'without Retry-After'
const AGAIN_FIRST_MS = 50
const AGAIN_LAST_MS = 500
/** A delivery without a 2xx for this long is given up: the platform did not come back. */
const GIVE_UP_MS = 90_000

export function createSender(options: SenderOptions): Sender {
  const agent = new Agent({ connections: options.connections, pipelining: 1, keepAliveTimeout: 10_000 })
  const sent: Sent[] = []

  async function attempt(delivery: Sent): Promise<boolean> {
    const target = options.targets()[0]
    delivery.attempts++
    const asked = systemClock.monotonic()
    const { status, code }: Answer =
      target === undefined ? { code: 'nobody' } : await post(agent, target, delivery, options)
    options.onAnswer?.(status, code, systemClock.monotonic() - asked)
    if (status === undefined || status < 200 || status > 299) return false
    await options.ledger.acknowledged(delivery.id, status)
    delivery.acknowledgedAt ??= systemClock.now()
    return true
  }

  /** Until a 2xx; a delivery of the kind that is sent once is not repeated. */
  async function deliver(delivery: Sent): Promise<void> {
    const began = systemClock.monotonic()
    for (let wait = AGAIN_FIRST_MS; ; wait = Math.min(wait * 2, AGAIN_LAST_MS)) {
      // Nobody listens: that is no attempt, even of a sender that makes only one.
      const nobodyListens = options.targets().length === 0
      if (await attempt(delivery)) return
      if (delivery.once && !nobodyListens) return
      if (systemClock.monotonic() - began > GIVE_UP_MS) return
      await pause(systemClock, wait, { keepAlive: true })
    }
  }

  async function carryOut(errand: Errand): Promise<void> {
    let before: Sent | undefined
    for (const delivery of errand) {
      // The answer to a question that never arrived is never given.
      if (delivery.kind === 'answer' && before?.acknowledgedAt === undefined) return
      const one: Sent = { ...delivery, acknowledgedAt: undefined, attempts: 0 }
      sent.push(one)
      await Promise.all(Array.from({ length: 1 + delivery.copies }, () => deliver(one)))
      before = one
    }
  }

  return {
    sent,
    async send(errands, atOnce) {
      const waiting = errands[Symbol.iterator]()
      const worker = async (): Promise<void> => {
        for (let next = waiting.next(); next.done !== true; next = waiting.next()) await carryOut(next.value)
      }
      await Promise.all(Array.from({ length: atOnce }, worker))
    },
    close: () => agent.destroy(),
  }
}

/** The status, or the code of the fault where no answer came; with a code too where the answer lacks something. */
interface Answer {
  readonly status?: number
  readonly code?: string
}

async function post(
  agent: Agent,
  target: string,
  delivery: Delivery,
  { secret, answerWithinMs = ANSWER_WITHIN_MS }: SenderOptions,
): Promise<Answer> {
  const { id, kind, ref, customer } = delivery
  const url = `${target}/webhooks/acme`
  const body = JSON.stringify({ id, type: kind, data: { ref, customer } })
  const signed = signPayload(signatureSchemes.standardWebhooks, { url, body, at: systemClock.now(), id }, [
    secret,
  ])
  try {
    const answer = await request(url, {
      dispatcher: agent,
      method: 'POST',
      headers: signed.headers,
      body,
      headersTimeout: answerWithinMs,
      bodyTimeout: answerWithinMs,
    })
    await answer.body.dump()
    const status = answer.statusCode
    return status === 503 && answer.headers['retry-after'] === undefined
      ? { status, code: NO_RETRY_AFTER }
      : { status }
  } catch (error) {
    return { code: (error as { code?: string }).code ?? 'unknown' }
  }
}
