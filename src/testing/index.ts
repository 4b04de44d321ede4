/**
 * The public test kit, `trestle/testing`: twins of providers, a fake clock, seeded randomness, a database.
 *
 * Owns: what stands in for the world outside when flows and connectors are tested, and the witness of what a
 * provider did. It may use the network (127.0.0.1 only); nothing in production imports it.
 * Leaves to others: the providers themselves, which stand in connectors/<name>/twin.ts.
 *
 * 1. A twin notes an effect at the moment when it acts, never from what it answered.
 * 2. Time and ids come from the clock and the seed that it was given: the same day plays the same way.
 * 3. Every fault is one that a real provider shows; a twin is never kinder than the provider.
 */
export { seededRandom, systemClock, systemRandom, type Clock, type Random } from '../base/index.ts'
export { startEmbeddedPostgres, type EmbeddedPostgres } from '../db/index.ts'
export { createFakeClock, type FakeClock } from './fakeClock.ts'
export { playPoll, timesOf, type PlayedPoll } from './triggers.ts'
export { createBundle } from './twin/bundle.ts'
export { connectToTwin, type RemoteTwin, type TwinActions, type TwinSwitch } from './twin/admin.ts'
export { repeatedEffects, type Effect } from './twin/effects.ts'
export { type DownMode, type Fault, type FaultFilter, type Faults } from './twin/faults.ts'
export { createKeyStore, type KeyStore, type KeyStoreOptions } from './twin/keys.ts'
export { createLaggingIndex, type LaggingIndex } from './twin/laggingIndex.ts'
export { fieldsOf, textOf, uuidFrom } from './twin/reading.ts'
export { createRollingLimit } from './twin/rollingLimit.ts'
export { createOAuthServer, type OAuthGrant, type OAuthOptions, type OAuthServer } from './twin/oauth.ts'
export {
  Refusal,
  route,
  type EffectNote,
  type TwinAnswer,
  type TwinRequest,
  type TwinRoute,
} from './twin/routes.ts'
export { createTwin, type LoggedRequest, type Twin, type TwinOptions } from './twin/twin.ts'
export {
  type DeliveryAttempt,
  type OutgoingWebhook,
  type SendingPolicy,
  type SourceDelivery,
  type WebhookDisturbances,
  type WebhookSender,
} from './twin/webhooks.ts'
export { signPayload, type PayloadToSign, type SignedPayload } from '../webhooks/index.ts'
export type { CreateStandIn, Happening, Person, StandIn } from '../prove/index.ts'
