import type { LoggedRequest, SourceDelivery } from 'trestle/testing'
import { RETRY_AFTER_SECONDS } from './day.ts'
import type { ApiQuarantined } from './api.ts'
import type { Twins } from './twins.ts'

/** Something that went wrong on purpose, how often it did, and what came of it. */
export interface Disturbance {
  readonly what: string
  readonly times: number
  readonly outcome: string
  /** Whether it happened at all, and was met as it should be. */
  readonly ok: boolean
}

/** What the twins' own records, and the platform's quarantine, say of the day's misbehaviour. */
export function disturbancesOf(twins: Twins, quarantined: readonly ApiQuarantined[]): readonly Disturbance[] {
  const deliveries = twins.all.flatMap((twin) => twin.deliveries())
  const requests = twins.all.flatMap((twin) => twin.requests())
  const faulty = (fault: LoggedRequest['fault']): readonly LoggedRequest[] =>
    requests.filter((request) => request.fault === fault)
  const happened = (what: string, times: number, outcome: string, met = true): Disturbance => ({
    what,
    times,
    outcome,
    ok: times > 0 && met,
  })

  const duplicates = deliveries.filter(
    ({ duplicateOf, state }) => duplicateOf !== undefined && state === 'delivered',
  )
  const forged = deliveries.filter((delivery) => delivery.forged)
  const together = deliveries.filter(
    (delivery) => delivery.duplicateOf === undefined && eventsIn(delivery) > 1,
  )
  const limited = faulty('rate_limit')
  const patient = limited.every((request) => waitedFor(request, requests, RETRY_AFTER_SECONDS * 1000))
  const events = quarantined.filter(({ kind }) => kind === 'event')
  const answers = quarantined.filter(({ kind }) => kind === 'answer')
  const paths = (all: readonly ApiQuarantined[]): string => all.map(({ path }) => path || '/').join(', ')

  return [
    happened('delivered again', duplicates.length, 'answered 2xx, nothing done twice'),
    happened('in the wrong order', outOfOrder(twins), 'each entered once'),
    happened(
      'forged signature',
      forged.length,
      `turned away with ${statusesOf(forged).join(', ')}`,
      statusesOf(forged).every((status) => status !== undefined && status >= 400),
    ),
    happened(
      'many events in one delivery',
      together.length,
      `${together.reduce((sum, delivery) => sum + eventsIn(delivery), 0)} events in all`,
    ),
    happened(
      '429 with Retry-After',
      limited.length,
      `asked again after ${RETRY_AFTER_SECONDS} s or more`,
      patient,
    ),
    happened('503 in the outage', faulty('down').length, 'waited, then done'),
    happened(
      'cut after acting',
      faulty('reset_after_acting').length,
      'sent again with the same key, done once',
    ),
    happened('slow answer', faulty('slow').length, 'waited for'),
    happened('unknown field', faulty('add_field').length, 'kept, and passed'),
    happened(
      'answer without a field',
      answers.length,
      `quarantined at ${paths(answers)}, released by a person`,
    ),
    happened('event without a field', events.length, `quarantined at ${paths(events)}, nothing done`),
  ]
}

/** How many events a delivery carries. */
export function eventsIn({ body }: SourceDelivery): number {
  const parsed: unknown = body.startsWith('[') ? JSON.parse(body) : undefined
  return Array.isArray(parsed) ? parsed.length : 1
}

function statusesOf(deliveries: readonly SourceDelivery[]): (number | undefined)[] {
  return [...new Set(deliveries.flatMap(({ attempts }) => attempts.map(({ status }) => status)))]
}

/** Whether the same request came again, and not sooner than it was asked to. */
function waitedFor(refused: LoggedRequest, requests: readonly LoggedRequest[], ms: number): boolean {
  const again = requests.find(
    ({ method, path, body, at }) =>
      method === refused.method && path === refused.path && body === refused.body && at > refused.at,
  )
  return again !== undefined && again.at - refused.at >= ms
}

/** Payments that were told of after a payment that was made later. */
function outOfOrder({ stripe }: Twins): number {
  const made = [...stripe.state.paymentIntents.keys()]
  let newest = -1
  let late = 0
  for (const { body, duplicateOf, forged } of stripe.deliveries()) {
    if (duplicateOf !== undefined || forged) continue
    const at = made.findIndex(
      (id) => body.includes(`"id": "${id}"`) && body.includes('payment_intent.succeeded'),
    )
    if (at < 0) continue
    if (at < newest) late++
    newest = Math.max(newest, at)
  }
  return late
}
