import { channel } from 'node:diagnostics_channel'

/**
 * Places at which a node may die with something half done: around each commit, and between two of them.
 *
 * - `inbox.before_keys`, `inbox.before_commit`: nothing of the deliveries is committed yet.
 * - `inbox.committed`: they are committed, and their senders were not answered yet.
 * - `wake_ups.taken`: wake-ups were taken from the queue, and their runs are not claimed yet.
 * - `runs.claimed`: the claim is committed, and nothing was executed yet.
 * - `call.answered`: a provider has answered, and nobody wrote it down yet.
 * - `writes.before_commit`, `writes.committed`: what runs journal (begun attempts, results, moves), around its commit.
 * - `run.moved`: where a run was left is committed, and its lane is not handed over yet.
 * - `rescue.before_commit`: runs of a dead node are being taken back.
 */
export const CRASH_POINTS = [
  'inbox.before_keys',
  'inbox.before_commit',
  'inbox.committed',
  'wake_ups.taken',
  'runs.claimed',
  'call.answered',
  'writes.before_commit',
  'writes.committed',
  'run.moved',
  'rescue.before_commit',
] as const

/**
 * The same for the refresh of an OAuth grant, whose answers no sender repeats.
 *
 * - `refresh.taken`: the turn is committed, and the token endpoint was not asked yet.
 * - `refresh.answered`: it has answered, and nobody wrote it down yet: the one place at which an answer can be lost.
 * - `refresh.kept`: the sealed answer is committed, and nobody has read it yet.
 * - `refresh.saved`: the new grant is committed, and nobody has used it yet.
 */
export const REFRESH_CRASH_POINTS = [
  'refresh.taken',
  'refresh.answered',
  'refresh.kept',
  'refresh.saved',
] as const
export type CrashPoint = (typeof CRASH_POINTS)[number] | (typeof REFRESH_CRASH_POINTS)[number]

/** Crash tests subscribe to it (node:diagnostics_channel) and end the process, at once, at the point that they want. */
export const CRASH_CHANNEL = 'trestle:crash-point'
const points = channel(CRASH_CHANNEL)

/** What is published there. */
export interface ReachedPoint {
  readonly name: CrashPoint
  /** The id of what it was reached with, where a process is at the same place with several: a connection, for refreshes. */
  readonly about: string | undefined
}

/** Says that this place is reached. Without a subscriber it costs one comparison. */
export function crashPoint(name: CrashPoint, about?: string): void {
  if (points.hasSubscribers) points.publish({ name, about } satisfies ReachedPoint)
}
