import { createBundle, signPayload, type Clock, type OutgoingWebhook, type Random } from 'trestle/testing'
import { signatureSchemes } from 'trestle'
import type { ChangeNote } from './twinRoutes.ts'

/** Tells the subscriber what changed. */
export interface ChangeTeller {
  /** Sends webhooks here from now on; `undefined` sends none. */
  subscribe(url: string | undefined): void
  tell(changes: readonly ChangeNote[]): Promise<void>
  /** Everything told meanwhile goes out in one delivery. */
  together(happenings: () => Promise<unknown>): Promise<void>
  /**
   * Asks the subscriber for the intent to receive, as the button on the app's page at Xero does: requests without
   * events, some of them signed with another key. Resolves with what is wrong, nothing where the endpoint is right.
   */
  askForIntent(send: SendIntent): Promise<readonly string[]>
}

/** Sends one request of an intent to receive. */
export type SendIntent = (
  url: string,
  request: { readonly body: string; readonly headers: Readonly<Record<string, string>> },
) => Promise<{ readonly status: number; readonly body: string; readonly cookies: boolean }>

type Dated = ChangeNote & { readonly at: number }

export function createChangeTeller(options: {
  readonly clock: Clock
  readonly random: Random
  readonly tenantId: string
  readonly webhookKey: string
  readonly url: string | undefined
  readonly send: (webhook: OutgoingWebhook) => Promise<unknown>
}): ChangeTeller {
  const { clock, random, tenantId, webhookKey } = options
  let subscribed = options.url
  let sequence = 0
  let latest = 0

  const eventOf = ({ kind, id, operation, at }: Dated) => ({
    resourceUrl: `https://api.xero.com/api.xro/2.0/${kind}s/${id}`,
    resourceId: id,
    tenantId,
    tenantType: 'ORGANISATION',
    eventCategory: kind.toUpperCase(),
    eventType: operation,
    eventDateUtc: new Date(at).toISOString().replace('Z', ''),
  })
  const bodyOf = (changes: readonly Dated[]): string => {
    const first = sequence + 1
    sequence += changes.length
    return JSON.stringify({
      events: changes.map(eventOf),
      firstEventSequence: changes.length === 0 ? 0 : first,
      lastEventSequence: changes.length === 0 ? 0 : sequence,
      entropy: random.bytes(15).toString('base64url').toUpperCase(),
    })
  }
  const signed = (url: string, body: string, key = webhookKey) =>
    signPayload(signatureSchemes.xero, { url, body, at: clock.now() }, [key])

  const send = async (changes: readonly Dated[]): Promise<void> => {
    // Payments have no events of their own.
    const told = changes.filter(({ kind }) => kind !== 'Payment')
    if (subscribed === undefined || told.length === 0) return
    const url = subscribed
    await options.send({
      url,
      body: bodyOf(told),
      eventId: told.map(({ kind, id, operation }) => `${kind} ${id} ${operation}`).join(', '),
      sign: (body) => signed(url, body),
    })
  }
  const bundle = createBundle(send)
  /** No two events of the twin have the same time, as they would under a clock that stands still. */
  const dated = (change: ChangeNote): Dated => {
    latest = Math.max(clock.now(), latest + 1)
    return { ...change, at: latest }
  }

  return {
    subscribe(url) {
      subscribed = url
    },
    tell: (changes) => bundle.tell(changes.map(dated)),
    together: (happenings) => bundle.together(happenings),
    async askForIntent(sendIntent) {
      if (subscribed === undefined) return ['nobody is subscribed']
      const url = subscribed
      const wrong: string[] = []
      for (const isGood of [true, false, true, false]) {
        const body = bodyOf([])
        const { headers } = signed(url, body, isGood ? webhookKey : 'the key of another app')
        const answer = await sendIntent(url, { body, headers })
        const wanted = isGood ? 200 : 401
        if (answer.status !== wanted) wrong.push(`${answer.status} where ${wanted} is wanted`)
        if (answer.body !== '') wrong.push(`a body where none is wanted: ${answer.body}`)
        if (answer.cookies) wrong.push('cookies')
      }
      return wrong
    },
  }
}
