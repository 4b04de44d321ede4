/**
 * The walls between what a provider sends and what a flow reads: every event, answer and input is held against
 * its declared shape.
 *
 * Owns: the check itself and the words in which a broken contract is told.
 * Leaves to others: what happens to what is refused (inbox and flows quarantine it), and the shapes, which
 * connectors declare.
 *
 * Invariants
 * 1. A value passes as its schema gives it out, or it is refused with the path (JSON Pointer, RFC 6901) at which
 *    it breaks. Nothing is mended on the way.
 * 2. A reason tells kinds and lengths, never the value: it may be a secret, and reasons are stored and shown.
 * 3. The check is synchronous: a schema that answers later is refused, since a check that waits can be raced.
 */
export { checkAnswer, checkEvent, checkInput, guard } from './guard.ts'
