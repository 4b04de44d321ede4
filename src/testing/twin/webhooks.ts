import { request } from 'undici'
import { pause, reasonOf, type Clock } from '../../base/index.ts'

/** A webhook that the provider sends. */
export interface OutgoingWebhook {
  readonly url: string
  readonly method?: 'POST' | 'GET'
  readonly body: string
  readonly contentType?: string
  /** Headers that every attempt carries, such as a delivery id. */
  readonly headers?: Readonly<Record<string, string>>
  /**
   * What signing adds to each attempt, since most signatures carry its time. `now` in milliseconds since 1970.
   * Usually `(body, at) => signPayload(scheme, { url, body, at }, [secret])`. A `url` given replaces the webhook's.
   */
  readonly sign?: (
    body: string,
    now: number,
  ) => { readonly headers: Readonly<Record<string, string>>; readonly url?: string }
  /** The provider's id of the event, for the source ledger. */
  readonly eventId?: string
  /** Sent with a signature that was made for another body: it must be refused. Never retried. */
  readonly forged?: boolean
}

/** One try of a delivery. */
export interface DeliveryAttempt {
  readonly number: number
  readonly at: number
  /** The receiver's answer; `undefined` where there was none. */
  readonly status: number | undefined
  readonly retryAfter?: string
  readonly error?: string
}

/** One webhook in the source ledger, with the answers it got. */
export interface SourceDelivery {
  readonly number: number
  readonly eventId: string | undefined
  readonly url: string
  readonly body: string
  readonly forged: boolean
  /** A deliberate second delivery of an earlier one. */
  readonly duplicateOf: number | undefined
  readonly attempts: readonly DeliveryAttempt[]
  /** `sending` until it is over; `delivered` with a 2xx; `given_up` when the provider's retries are used up. */
  readonly state: 'sending' | 'delivered' | 'given_up'
}

/** How the provider sends webhooks. */
export interface SendingPolicy {
  /** Waits before the second, third … attempt, in milliseconds. Default: 1 s, 5 s, 30 s, 2 min. */
  readonly retryAfterMs?: readonly number[]
  /** How long an answer may take. Default 10 s. */
  readonly timeoutMs?: number
  /** Statuses after which the provider does not try again (HubSpot's 401). Default: none. */
  readonly finalStatuses?: readonly number[]
  /** QuickBooks: nothing is sent to a URL before what came earlier was accepted or given up. Default false. */
  readonly inOrder?: boolean
}

/** Disturbances of what is sent next; each concerns the next `n` webhooks. */
export interface WebhookDisturbances {
  /** Each is delivered this many times more (default 1), by deliveries of their own. */
  duplicateNext(n: number, times?: number): void
  /** They are held back until all are there, then sent last first. */
  reverseNext(n: number): void
  /** Before each a forged copy is sent. Webhooks without a signature are not counted. */
  forgeBeforeNext(n: number): void
  /** They are not sent at all: what reconciliation must find. */
  loseNext(n: number): void
}

export interface WebhookSender extends WebhookDisturbances {
  /** Sends, and resolves after the first attempt; retries go on by the clock. Held-back webhooks resolve when sent. */
  send(webhook: OutgoingWebhook): Promise<SourceDelivery | undefined>
  /** Delivers again what was delivered before, as providers do. */
  resend(deliveryNumber: number): Promise<SourceDelivery>
  deliveries(): readonly SourceDelivery[]
  /** Resolves when no delivery is under way or waits for a retry. */
  idle(): Promise<void>
  /** Ends all retries. */
  stop(): void
}

type MutableDelivery = { -readonly [K in keyof SourceDelivery]: SourceDelivery[K] } & {
  attempts: DeliveryAttempt[]
}

/** The part of a twin that sends webhooks and keeps the source ledger. */
export function createWebhookSender(clock: Clock, policy: SendingPolicy = {}): WebhookSender {
  const retryAfterMs = policy.retryAfterMs ?? [1000, 5000, 30_000, 120_000]
  const ledger: { delivery: MutableDelivery; webhook: OutgoingWebhook }[] = []
  const underWay = new Set<Promise<void>>()
  const lines = new Map<string, Promise<void>>()
  let held: { webhook: OutgoingWebhook; sent: (delivery: SourceDelivery) => void }[] = []
  const next = { duplicate: 0, times: 1, reverse: 0, forge: 0, lose: 0 }
  let stopped = false

  const attempt = async (webhook: OutgoingWebhook, delivery: MutableDelivery): Promise<DeliveryAttempt> => {
    const at = clock.now()
    const signedBody = webhook.forged ? `${webhook.body} ` : webhook.body
    const number = delivery.attempts.length + 1
    const signature = webhook.sign?.(signedBody, at) ?? { headers: {} }
    const outcome = await post(webhook, signature, policy.timeoutMs ?? 10_000)
    const made = { number, at, ...outcome }
    delivery.attempts.push(made)
    return made
  }

  const retry = async (webhook: OutgoingWebhook, delivery: MutableDelivery): Promise<void> => {
    while (delivery.state === 'sending') {
      const waitMs = retryAfterMs[delivery.attempts.length - 1]
      if (waitMs === undefined || stopped) delivery.state = 'given_up'
      else {
        await pause(clock, waitMs)
        if (stopped) delivery.state = 'given_up'
        else settle(delivery, await attempt(webhook, delivery))
      }
    }
  }

  const settle = (delivery: MutableDelivery, { status }: DeliveryAttempt): void => {
    if (status !== undefined && status >= 200 && status < 300) delivery.state = 'delivered'
    else if (delivery.forged || (status !== undefined && policy.finalStatuses?.includes(status)))
      delivery.state = 'given_up'
  }

  const deliver = async (webhook: OutgoingWebhook, duplicateOf?: number): Promise<SourceDelivery> => {
    const delivery: MutableDelivery = {
      number: ledger.length + 1,
      eventId: webhook.eventId,
      url: webhook.url,
      body: webhook.body,
      forged: webhook.forged ?? false,
      duplicateOf,
      attempts: [],
      state: 'sending',
    }
    ledger.push({ delivery, webhook })
    const before = policy.inOrder ? lines.get(webhook.url) : undefined
    const first = (async () => {
      await before
      settle(delivery, await attempt(webhook, delivery))
    })()
    const whole = first.then(() => retry(webhook, delivery))
    if (policy.inOrder) lines.set(webhook.url, whole)
    underWay.add(whole)
    void whole.finally(() => underWay.delete(whole))
    await first
    return delivery
  }

  const deliverDisturbed = async (webhook: OutgoingWebhook): Promise<SourceDelivery> => {
    if (webhook.sign && take('forge')) await deliver({ ...webhook, forged: true })
    const copies = take('duplicate') ? next.times : 0
    const delivery = await deliver(webhook)
    for (let i = 0; i < copies; i++) await deliver(webhook, delivery.number)
    return delivery
  }

  const take = (what: 'duplicate' | 'reverse' | 'forge' | 'lose'): boolean => {
    if (next[what] === 0) return false
    next[what]--
    return true
  }

  return {
    async send(webhook) {
      if (webhook.forged && !webhook.sign)
        throw new Error('A webhook without a signature cannot be forged: give sign.')
      if (take('lose')) return undefined
      if (!take('reverse')) return deliverDisturbed(webhook)
      const sent = new Promise<SourceDelivery>((resolve) => held.push({ webhook, sent: resolve }))
      if (next.reverse === 0) {
        const release = held.reverse()
        held = []
        for (const one of release) one.sent(await deliverDisturbed(one.webhook))
      }
      return sent
    },
    async resend(deliveryNumber) {
      const earlier = ledger[deliveryNumber - 1]
      if (!earlier) throw new Error(`There is no delivery ${deliveryNumber}; there are ${ledger.length}.`)
      return deliver(earlier.webhook, deliveryNumber)
    },
    deliveries: () => ledger.map(({ delivery }) => delivery),
    async idle() {
      while (underWay.size > 0) await Promise.all(underWay)
    },
    stop() {
      stopped = true
    },
    duplicateNext(n, times = 1) {
      next.duplicate = n
      next.times = times
    },
    reverseNext(n) {
      next.reverse = n
    },
    forgeBeforeNext(n) {
      next.forge = n
    },
    loseNext(n) {
      next.lose = n
    },
  }
}

async function post(
  webhook: OutgoingWebhook,
  signature: { readonly headers: Readonly<Record<string, string>>; readonly url?: string },
  timeoutMs: number,
): Promise<{ status: number | undefined; retryAfter?: string; error?: string }> {
  try {
    const answer = await request(signature.url ?? webhook.url, {
      method: webhook.method ?? 'POST',
      headers: {
        'content-type': webhook.contentType ?? 'application/json',
        ...webhook.headers,
        ...signature.headers,
      },
      body: webhook.body,
      headersTimeout: timeoutMs,
      bodyTimeout: timeoutMs,
    })
    await answer.body.dump()
    const retryAfter = answer.headers['retry-after']
    return { status: answer.statusCode, ...(typeof retryAfter === 'string' ? { retryAfter } : {}) }
  } catch (error) {
    return { status: undefined, error: reasonOf(error) }
  }
}
