/**
 * The only way out to the network.
 *
 * Owns: the sockets, the policy of where they may go, and the judgement of what is known when one breaks.
 * Leaves to others: whether and when to send (calls), what an answer means, credentials (vault), retries (flows).
 *
 * Invariants
 * 1. One `send` writes a request at most once. There is no retry and no redirect here, and undici's own second
 *    try on a lost connection is refused.
 * 2. Of HTTP, `not_sent` is said only if no byte was handed to a socket; everything later without an answer is `unknown`.
 * 3. The address that is judged is the one connected to: literals before the dial, names inside the dial's own
 *    lookup, and the connected peer before the first byte.
 * 4. A socket opened with leave to reach private addresses is never used for an exchange without it.
 * 5. A mail counts as sent from the line that ends it on: what breaks before is `not_sent`, what breaks between that
 *    line and the reply is `unknown`.
 * 6. Everything is bounded: time, headers, body received, body decoded, sockets, exchanges and origins.
 * 7. Whoever is refused by the policy is told so only after `onDenied` was: no refusal is off the record.
 */
export type { ConnectTcp, Resolve } from './dial.ts'
export { createEgress } from './egress.ts'
export type { Answered, Denied, Egress, EgressOptions, EgressRequest, EgressResult } from './egress.ts'
export type { ServerCertificate } from './certificates.ts'
export type { Unknown } from './exchange.ts'
export type { NotSent } from './notSent.ts'
export { EGRESS_POLICY } from './policy.ts'
export { composeMail, type ComposedMail, type MailExchangeRequest, type MailMarks } from './mail/index.ts'
