import type { Clock } from 'trestle/testing'
import type { Salon } from './happenings.ts'
import { CUSTOMERS, customersOf, inTurn, type Customer } from './people.ts'
import type { Twins } from './twins.ts'
import type { Happening } from './witness.ts'

/** What the day is played on. */
export interface Stage {
  readonly twins: Twins
  readonly salon: Salon
  readonly clock: Clock
  readonly pause: (ms: number) => Promise<void>
  /** Says what goes on, beside the events and effects themselves. */
  readonly say: (line: string) => void
  /** Waits until everything has come of these happenings, or of all so far. */
  readonly settled: (happenings?: readonly Happening[]) => Promise<void>
  /** A person looks into the quarantine, finds an answer there, and lets it pass. */
  readonly releaseAnswer: () => Promise<void>
}

interface Scene {
  readonly at: string
  readonly title: string
  play(stage: Stage): Promise<void> | void
}

/** The length of the outage at noon. Two minutes of it would be long to watch. */
const OUTAGE_MS = 6000
/** What HubSpot asks for when it has had enough. */
export const RETRY_AFTER_SECONDS = 2
const SLOW_MS = 2000
/** Between two things that happen. */
const BEAT_MS = 150

const known = customersOf('known')
const MEMBERS: readonly Customer[] = known.slice(0, 3)
const NEW_PAYMENT = 'POST /v3/company/:realmId/payment'

/** The day, in the order in which it is played. It is the same every time. */
const SCENES: readonly Scene[] = [
  {
    at: '08:55',
    title: 'Reception corrects telephone numbers in HubSpot: one delivery with many events',
    async play({ salon }) {
      await salon.correctsPhones(CUSTOMERS.filter(({ standing }) => standing !== 'new'))
    },
  },
  {
    at: '09:00',
    title: 'Bookings come in from Cal.com; two of them are delivered twice',
    async play({ salon, twins, pause }) {
      twins.calcom.webhooks.duplicateNext(2)
      for (const customer of [...known, ...customersOf('lead').slice(0, 2)]) {
        await salon.books(customer)
        await pause(BEAT_MS)
      }
    },
  },
  {
    at: '09:30',
    title: 'Payments in Stripe: delivered twice and three times over, and three in the wrong order',
    async play({ salon, twins, pause }) {
      const payer = inTurn(CUSTOMERS)
      twins.stripe.webhooks.duplicateNext(4, 2)
      for (let i = 0; i < 6; i++) {
        salon.pays(payer(), 4500 + i * 500)
        await pause(BEAT_MS)
      }
      twins.stripe.webhooks.reverseNext(3)
      const [ada] = known
      for (const amount of [1500, 2500, 3500]) salon.pays(ada!, amount)
      await pause(BEAT_MS)
    },
  },
  {
    at: '10:00',
    title: 'Somebody forges a payment. The signature does not fit, and it is turned away',
    async play({ salon, twins, pause }) {
      twins.stripe.webhooks.forgeBeforeNext(1)
      salon.pays(known[1]!, 6000)
      await pause(BEAT_MS)
    },
  },
  {
    at: '10:15',
    title: `HubSpot has had enough for now: 429, Retry-After ${RETRY_AFTER_SECONDS} s`,
    async play({ salon, twins, pause }) {
      twins.hubspot.faults.rateLimit(1, RETRY_AFTER_SECONDS, { only: 'POST /crm/v3/objects/notes' })
      salon.pays(customersOf('new')[0]!, 8000)
      await pause(BEAT_MS)
    },
  },
  {
    at: '10:30',
    title: 'Appointments are over; the till was offline and sends four at once, one of them twice',
    async play({ salon, twins, pause }) {
      salon.completes(known[0]!)
      await pause(BEAT_MS)
      salon.completesTogether([known[1]!, ...customersOf('lead').slice(0, 2), customersOf('new')[1]!])
      await pause(BEAT_MS)
      twins.app.webhooks.duplicateNext(1)
      salon.completes(known[2]!, { service: 'Consultation' })
      await pause(BEAT_MS)
    },
  },
  {
    at: '11:00',
    title: 'One appointment is reported a day late: record and invoice, but nobody is texted',
    async play({ salon, pause }) {
      salon.completes(known[3]!, { daysAgo: 1 })
      await pause(BEAT_MS)
    },
  },
  {
    at: '11:15',
    title: `The app answers after ${SLOW_MS / 1000} s, and QuickBooks has a field that nobody announced`,
    async play({ salon, twins, pause }) {
      twins.app.faults.slow(SLOW_MS, 1, { only: 'POST /events' })
      twins.quickbooks.faults.addField('Payment.SurpriseTax', 1, { only: NEW_PAYMENT })
      await salon.books(known[4]!)
      salon.pays(known[4]!, 2000)
      await pause(BEAT_MS)
    },
  },
  {
    at: '11:30',
    title: 'An event lacks its price, and an answer of QuickBooks its SyncToken: both are quarantined',
    async play({ salon, twins, pause, settled, releaseAnswer }) {
      salon.completesWithoutPrice(known[2]!)
      await settled()
      twins.quickbooks.faults.dropField('Payment.SyncToken', 1, { only: NEW_PAYMENT })
      const payment = salon.pays(known[3]!, 5500)
      await pause(BEAT_MS)
      await releaseAnswer()
      await settled([payment])
    },
  },
  {
    at: '12:00',
    title: `QuickBooks is down: two minutes of 503, played in ${OUTAGE_MS / 1000} s. Business goes on`,
    async play({ salon, twins, pause, clock }) {
      const payer = inTurn(CUSTOMERS)
      const until = clock.now() + OUTAGE_MS
      twins.quickbooks.faults.down(true)
      for (let i = 0; i < 10; i++) {
        salon.pays(payer(), 3000 + i * 250)
        await pause(2 * BEAT_MS)
      }
      await pause(until - clock.now())
      twins.quickbooks.faults.down(false)
    },
  },
  {
    at: '12:02',
    title: 'QuickBooks is back. What waited is entered',
    play: ({ settled }) => settled(),
  },
  {
    at: '14:00',
    title: 'A payment is entered in QuickBooks, and the connection is cut before the answer',
    async play({ salon, twins, pause }) {
      twins.quickbooks.faults.resetAfterActing(1, { only: NEW_PAYMENT })
      salon.pays(customersOf('lead')[2]!, 7000)
      await pause(BEAT_MS)
    },
  },
  {
    at: '15:00',
    title: 'Memberships are renewed in Stripe, and a payment is disputed',
    async play({ salon, twins, pause }) {
      const subscriptions = [...twins.stripe.state.subscriptions.values()]
      for (const [i, member] of MEMBERS.entries()) {
        salon.renews(subscriptions[i]!.id, member)
        await pause(BEAT_MS)
      }
      const [disputed] = twins.stripe.state.paymentIntents.keys()
      salon.disputes(known[0]!, disputed!)
      await pause(BEAT_MS)
    },
  },
  {
    at: '16:30',
    title: 'Two customers do not come',
    async play({ salon, pause }) {
      for (const customer of [known[3]!, known[4]!]) {
        salon.misses(customer)
        await pause(BEAT_MS)
      }
    },
  },
  {
    at: '17:00',
    title: 'The salon closes',
    play: ({ settled }) => settled(),
  },
]

/** Plays the day from morning to evening. */
export async function playDay(stage: Stage): Promise<void> {
  for (const scene of SCENES) {
    stage.say(`${scene.at}  ${scene.title}`)
    await scene.play(stage)
  }
}

/** Who has a membership, and pays for it every month. Called before the day, so that no webhook tells of it. */
export function makeMembers({ stripe }: Pick<Twins, 'stripe'>): void {
  for (const { email } of MEMBERS) {
    const customer = [...stripe.state.customers.values()].find(
      (one) => !('deleted' in one) && one.email === email,
    )
    stripe.subscriptionStarts({ customer: customer?.id ?? '', amount: 2900 })
  }
}
