/**
 * The ledger: what was exchanged and done, so that nobody can change it afterwards without being found out.
 *
 * Owns: the form of an entry, its redaction at the point of capture, the batches' Merkle roots, the signed chain of
 * blocks, checkpoints, partitions and retention, and offline verification.
 * Leaves to others: what is worth an entry (whoever makes the change writes it, in the same transaction), where
 * checkpoints go (the runtime gives `publish`), how the signing key is kept (the vault's two functions are given), and
 * the transactions themselves.
 *
 * Invariants
 * 1. A change of state and its entry are one transaction: {@link writeEntries} writes with the client that it is given.
 * 2. An entry never makes a change of state fail: what cannot be stored is replaced, what is too long is cut, and a day
 *    without a partition goes to the default one.
 * 3. An entry is never changed. It is removed only by retention, with its whole batch, only when the batch is sealed
 *    in a signed block, and with an entry that says so.
 * 4. A batch is the entries of one {@link writeEntries}; it lies in one partition, and its root is over their order.
 * 5. Every committed batch comes into exactly one block, however late it commits; blocks are numbered from 1 without
 *    gaps, and each fixes the one before.
 * 6. A checkpoint leaves the database within 60 s; verification needs only a copy of the tables, the checkpoints
 *    and the public key.
 * 7. What is marked as secret does not reach an entry: exchanges come through a {@link Redactor}.
 *
 * Against whom: somebody who can write to the database, as its superuser too, but can neither open the master key nor
 * take back checkpoints that have left. Such a one can change the unsealed tail, and remove what retention would remove.
 */
export type { Actor, LedgerAction } from './actions.ts'
export type { Block, Checkpoint } from './block.ts'
export type { LedgerEntry, WrittenEntry } from './entry.ts'
export { blockAt, newestBlock } from './head.ts'
export {
  beginReading,
  endTurn,
  entriesById,
  entriesIn,
  entriesOfTime,
  IN_STRETCH,
  stretchValues,
  takeTurn,
  type Reader,
  type Stretch,
} from './follow.ts'
export { openLedgerKey, type KeySeal, type LedgerKey } from './key.ts'
export { dropExpired, ensurePartitions, type Expired } from './partitions.ts'
export {
  Redactor,
  type Exchange,
  type ExchangeHeaders,
  type KeptBody,
  type RedactedExchange,
  type SecretMarks,
} from './redact/index.ts'
export { listEntries, type EntryFilter } from './read.ts'
export type { Gap, Problem, ProblemCode, VerifyReport } from './report.ts'
export { LedgerSealer, type SealerOptions } from './sealer.ts'
export { databaseSource } from './source.ts'
export {
  verifyLedger,
  type BatchRow,
  type EntryRow,
  type LedgerSource,
  type VerifyOptions,
} from './verify.ts'
export { writeEntries } from './write.ts'
