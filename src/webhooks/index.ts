/**
 * Where providers' webhooks come in: receive → verify → accept.
 *
 * Owns: reading one HTTP request within limits; signatures, checked and made; the answer to the sender; the count
 * of what was refused.
 * Leaves to others: which endpoints there are and their secrets (vault, runtime), and storing what was accepted
 * (inbox), both given as functions. It holds no connection and knows no provider: connectors declare theirs.
 *
 * Invariants:
 * 1. 2xx is answered only after `accept` has resolved, which is after its commit.
 * 2. 401 is answered only after a completed check. What keeps us from completing one is 503, never 4xx.
 * 3. From the last byte of the body to an answer it takes at most `ackTimeoutMs`, whatever hangs behind.
 * 4. Nothing of a body is parsed before its signature is good.
 * 5. Signatures are compared in constant time, and dated ones are refused on both sides of the tolerance.
 * 6. Body, headers, time, form fields, events in a delivery, samples and bytes held at once have a limit.
 * 7. No signed delivery is refused because of requests that are not: they have no room in common, and where room is
 *    scarce, who holds most and has waited longest gives way to whoever comes.
 */
export { type Endpoint, type Rejection } from './endpoint.ts'
export { createWebhookIntake, type WebhookIntakeOptions } from './intake.ts'
export { readDelivery, withoutCredentials } from './read-delivery.ts'
export { pairsOf } from './receive.ts'
export { createRejectionCounter, type RejectionCounter } from './rejections.ts'
export { signPayload, type PayloadToSign, type SignedPayload } from './sign.ts'
export { neighbourhoodOf, whoYields, type Holding } from './yielding.ts'
export { verifySignature } from './verify.ts'
