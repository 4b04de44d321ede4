/**
 * Proof: the user's own flows on twins, through everything that goes wrong, and a page that says what came of it.
 *
 * Owns: the simulated clock and the whole platform on it, the scenarios, the comparison of what the twins saw with an
 * undisturbed run of the same events, the page.
 * Leaves to others: the platform itself, which is built as in production (runtime); what providers are like (the
 * stand-ins of connectors, found by the public name `trestle/connectors/<name>/stand-in`); the command (cli).
 *
 * Invariants
 * 1. Nothing in a proof reaches a provider: every connection is pointed at a twin on this machine, or at nowhere.
 * 2. What counts is what the twins saw. The platform is asked only for its reasons.
 * 3. The same seed, flows and version give the same page, byte for byte: nothing on it is of this machine, no id, port,
 *    time or order.
 * 4. What could not be exercised is said on the page.
 */
export type { CreateStandIn, Happening, Person, StandIn } from './standIn.ts'
export type { ProofReport } from './report.ts'
export { prove, type ProveOptions } from './prove.ts'
export { writePage } from './page/page.ts'
