import { defineConfig, env } from 'trestle'
import { businessApp } from 'trestle/connectors/business-app'
import { calcom } from 'trestle/connectors/calcom'
import { hubspot } from 'trestle/connectors/hubspot'
import { quickbooks } from 'trestle/connectors/quickbooks'
import { stripe } from 'trestle/connectors/stripe'
import { twilio } from 'trestle/connectors/twilio'
import { appointmentCompleted } from './flows/appointment-completed.ts'
import { appointmentNoShow } from './flows/appointment-no-show.ts'
import { bookingCreated } from './flows/booking-created.ts'
import { disputeOpened } from './flows/dispute-opened.ts'
import { paymentReceived } from './flows/payment-received.ts'
import { phoneChanged } from './flows/phone-changed.ts'
import { subscriptionRenewed } from './flows/subscription-renewed.ts'

/** Where a provider is. The demo's twins are on this machine; without these variables it is the provider itself. */
function at(variable: string) {
  const baseUrl = process.env[variable]
  return baseUrl === undefined ? {} : { baseUrl, allowPrivateNetwork: true }
}

export default defineConfig({
  connections: {
    stripe: stripe.connect({
      ...at('STRIPE_URL'),
      secrets: { token: env('STRIPE_API_KEY') },
      webhookSecrets: [env('STRIPE_WEBHOOK_SECRET')],
    }),
    hubspot: hubspot.connect({
      ...at('HUBSPOT_URL'),
      secrets: { token: env('HUBSPOT_TOKEN') },
      webhookSecrets: [env('HUBSPOT_CLIENT_SECRET')],
    }),
    quickbooks: quickbooks.connect({
      ...at('QUICKBOOKS_URL'),
      tokenUrl: process.env['QUICKBOOKS_TOKEN_URL'],
      settings: { realmId: process.env['QUICKBOOKS_REALM_ID'] ?? '' },
      secrets: {
        clientId: env('QUICKBOOKS_CLIENT_ID'),
        clientSecret: env('QUICKBOOKS_CLIENT_SECRET'),
        refreshToken: env('QUICKBOOKS_REFRESH_TOKEN'),
      },
    }),
    calcom: calcom.connect({
      ...at('CALCOM_URL'),
      secrets: { token: env('CALCOM_API_KEY') },
      webhookSecrets: [env('CALCOM_WEBHOOK_SECRET')],
    }),
    twilio: twilio.connect({
      ...at('TWILIO_URL'),
      settings: { accountSid: process.env['TWILIO_ACCOUNT_SID'] ?? '' },
      secrets: { username: env('TWILIO_ACCOUNT_SID'), password: env('TWILIO_AUTH_TOKEN') },
    }),
    app: businessApp.connect({
      ...at('APP_URL'),
      secrets: { signingSecret: env('APP_SIGNING_SECRET') },
    }),
  },
  flows: [
    bookingCreated,
    paymentReceived,
    appointmentCompleted,
    appointmentNoShow,
    subscriptionRenewed,
    disputeOpened,
    phoneChanged,
  ],
})
