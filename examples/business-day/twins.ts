import { systemClock, type Clock, type Twin } from 'trestle/testing'
import { createBusinessAppTwin, type BusinessAppTwin } from 'trestle/connectors/business-app/twin'
import { createCalcomTwin, type CalcomTwin } from 'trestle/connectors/calcom/twin'
import { createHubspotTwin, type HubspotTwin } from 'trestle/connectors/hubspot/twin'
import { createQuickbooksTwin, type QuickbooksTwin } from 'trestle/connectors/quickbooks/twin'
import { createStripeTwin, type StripeTwin } from 'trestle/connectors/stripe/twin'
import { createTwilioTwin, type TwilioTwin } from 'trestle/connectors/twilio/twin'
import { CUSTOMERS, customersOf } from './people.ts'

/** The five providers and the business's own app, on ports of this machine. */
export interface Twins {
  readonly stripe: StripeTwin
  readonly hubspot: HubspotTwin
  readonly quickbooks: QuickbooksTwin
  readonly calcom: CalcomTwin
  readonly twilio: TwilioTwin
  readonly app: BusinessAppTwin
  readonly all: readonly Twin[]
  /** What trestle.config.ts reads: addresses and secrets. */
  readonly environment: Readonly<Record<string, string>>
  /** Tells the providers where the platform takes their webhooks. */
  sendTo(platform: { readonly url: string; readonly token: string }): void
  /** The address that HubSpot's app is told; it subscribes only to corrections that people make. */
  hubspotWebhooks(): string
  stop(): Promise<void>
}

const STRIPE_WEBHOOK_SECRET = 'whsec_of_the_stripe_twin'
const HUBSPOT_CLIENT = { id: 'salon-app', secret: 'secret-of-the-salon-app' }
const QUICKBOOKS_CLIENT = { id: 'salon-books', secret: 'secret-of-the-salon-books' }
const CALCOM_WEBHOOK_SECRET = 'secret-of-the-calcom-twin'
/** What the salon's flows start on: an endpoint should ask for no more. */
const STRIPE_EVENTS = ['payment_intent.succeeded', 'invoice.paid', 'charge.dispute.created']
const DAY_MS = 86_400_000

/** Starts the twins with what they knew before this day. Everything that they make up comes from the seed. */
export async function startTwins(seed: string, clock: Clock = systemClock): Promise<Twins> {
  const stripe = createStripeTwin({ clock, seed: `${seed} stripe` })
  const hubspot = createHubspotTwin({
    clock,
    seed: `${seed} hubspot`,
    client: HUBSPOT_CLIENT,
    properties: ['membership_paid_until'],
    // Minutes and hours at HubSpot.
    retryAfterMs: [2000, 5000, 10_000, 20_000],
  })
  const quickbooks = createQuickbooksTwin({ clock, seed: `${seed} quickbooks`, client: QUICKBOOKS_CLIENT })
  const calcom = createCalcomTwin({ clock, seed: `${seed} calcom`, webhookSecret: CALCOM_WEBHOOK_SECRET })
  const twilio = createTwilioTwin({ clock, seed: `${seed} twilio` })
  const app = createBusinessAppTwin({ clock, seed: `${seed} app` })
  const all = [stripe, hubspot, quickbooks, calcom, twilio, app]
  await Promise.all(all.map((twin) => twin.start()))
  await makeHistory({ stripe, hubspot, quickbooks, calcom }, clock)

  let webhooks = ''
  return {
    stripe,
    hubspot,
    quickbooks,
    calcom,
    twilio,
    app,
    all,
    environment: {
      STRIPE_URL: stripe.url,
      STRIPE_API_KEY: stripe.apiKey,
      STRIPE_WEBHOOK_SECRET,
      HUBSPOT_URL: hubspot.url,
      HUBSPOT_TOKEN: 'pat-twin',
      HUBSPOT_CLIENT_SECRET: HUBSPOT_CLIENT.secret,
      QUICKBOOKS_URL: quickbooks.url,
      QUICKBOOKS_TOKEN_URL: quickbooks.tokenUrl(),
      QUICKBOOKS_REALM_ID: quickbooks.realmId,
      QUICKBOOKS_CLIENT_ID: QUICKBOOKS_CLIENT.id,
      QUICKBOOKS_CLIENT_SECRET: QUICKBOOKS_CLIENT.secret,
      QUICKBOOKS_REFRESH_TOKEN: quickbooks.connectApp().refreshToken,
      CALCOM_URL: calcom.url,
      CALCOM_API_KEY: 'cal_test_key',
      CALCOM_WEBHOOK_SECRET,
      TWILIO_URL: twilio.url,
      TWILIO_ACCOUNT_SID: twilio.accountSid,
      TWILIO_AUTH_TOKEN: twilio.authToken,
      APP_URL: app.url,
      APP_SIGNING_SECRET: app.signingSecret,
    },
    sendTo({ url, token }) {
      webhooks = `${url}/webhooks`
      stripe.addEndpoint({
        url: `${webhooks}/stripe`,
        secret: STRIPE_WEBHOOK_SECRET,
        enabledEvents: STRIPE_EVENTS,
      })
      calcom.subscribe(`${webhooks}/calcom`, CALCOM_WEBHOOK_SECRET)
      app.emitsTo({ url: `${url}/api/v1/events`, token })
    },
    hubspotWebhooks: () => `${webhooks}/hubspot`,
    async stop() {
      await Promise.all(all.map((twin) => twin.stop()))
    },
  }
}

/** Customers, payments and appointments of the days before, of which no webhook tells any more. */
async function makeHistory(
  { stripe, hubspot, quickbooks, calcom }: Pick<Twins, 'stripe' | 'hubspot' | 'quickbooks' | 'calcom'>,
  clock: Clock,
): Promise<void> {
  for (const { name, email, phone, standing } of CUSTOMERS) {
    if (standing === 'new') continue
    const [firstname = '', lastname = ''] = name.split(' ')
    const lifecyclestage = standing === 'known' ? 'customer' : 'lead'
    await hubspot.contactCreated({ email, firstname, lastname, phone, lifecyclestage })
  }
  for (const [i, { name, email, phone }] of customersOf('known').entries()) {
    await quickbooks.customerCreated({
      DisplayName: `${name} (${email})`,
      PrimaryEmailAddr: { Address: email },
    })
    stripe.customerSignsUp({ email, name, phone })
    stripe.paymentSucceeds({ email, amount: 4500 + i * 500 })
    calcom.pastBooking({
      attendee: { name, email, phoneNumber: phone },
      start: new Date(clock.now() - (20 + i) * DAY_MS).toISOString(),
      eventTypeId: 102,
    })
  }
}

/** The name that trestle.config.ts gives the connection to this twin. */
export function connectionOf(twin: string): string {
  return twin === 'business-app' ? 'app' : twin
}
