import { SECOND, UsageError, type Clock } from '../base/index.ts'
import type { CallOutcome } from '../calls/index.ts'
import { transaction, type Queryable } from '../db/index.ts'
import { blockAt, newestBlock, writeEntries, type Checkpoint } from '../ledger/index.ts'
import { beginHold, readHolds, type Hold, type HoldsRead } from '../operator/index.ts'
import type { Installation } from './installation.ts'

/** How often a node asks whether a hold was begun or released: as long may pass until it goes on. */
const LOOK_EVERY_MS = SECOND

/** What everything that acts by itself asks before it does: schedules, polls, calls, notifications. */
export interface HoldWatch {
  /** Whether a hold is open, as this node knows it: at most a second old. Claims ask the database itself. */
  readonly inHold: () => boolean
  readonly open: () => Hold | undefined
  /** Times that the database lost when it was put back from copies. */
  readonly lostTimes: () => HoldsRead['lostTimes']
  /** Looks at once, and answers whether a hold is open. */
  look(): Promise<boolean>
  stop(): void
}

/**
 * Reads the holds before anything else is started, and keeps looking. While the database is away it goes on with what
 * it knew; nothing can be claimed then. `onChange` is told when a hold begins or ends.
 */
export async function startHoldWatch(options: {
  readonly client: Queryable
  readonly clock: Clock
  readonly onFault: (error: unknown) => void
  readonly onChange?: (open: Hold | undefined) => void
}): Promise<HoldWatch> {
  const { client, clock, onFault, onChange } = options
  let read = await readHolds(client)
  let stopped = false
  let cancel: () => void = () => {}
  const look = async (): Promise<boolean> => {
    const before = read.open?.id
    read = await readHolds(client)
    if (read.open?.id !== before && !stopped) onChange?.(read.open)
    return read.open !== undefined
  }
  const schedule = (): void => {
    cancel = clock.after(LOOK_EVERY_MS, () => {
      look()
        .catch(onFault)
        .finally(() => {
          if (!stopped) schedule()
        })
    })
  }
  schedule()
  return {
    inHold: () => read.open !== undefined,
    open: () => read.open,
    lostTimes: () => read.lostTimes,
    look,
    stop() {
      stopped = true
      cancel()
    },
  }
}

/**
 * Whether the database is older than a checkpoint that had left it: it was put back from a copy by other means than
 * ours, or tampered with. Then a hold is begun, before any node may claim. A database of another installation, or a
 * new one, is not older. Answers whether it was so.
 */
export async function holdWhereRolledBack(
  { database, clock }: Pick<Installation, 'database' | 'clock'>,
  known: Checkpoint | undefined,
): Promise<boolean> {
  if (known === undefined) return false
  return transaction(database.pool, async (client) => {
    // Several nodes at once: one of them begins it.
    await client.query('lock table holds in exclusive mode')
    const there = await blockAt(client, known.number)
    const newest = await newestBlock(client)
    if (newest === undefined || newest.publicKey !== known.publicKey) return false
    if (there !== undefined && there.signature === known.signature) return false
    if ((await readHolds(client)).open) return true
    const now = clock.now()
    await beginHold(
      client,
      {
        kind: 'rolled_back',
        reason: `Block ${known.number} of the ledger had left the database at ${new Date(known.at).toISOString()} and is ${there ? 'another one' : 'gone'} now: the database is older than that.`,
        actor: 'system',
        now,
        lost: { from: Math.min(newest.at, now), to: now },
        detail: { knownOutside: summaryOf(known), inDatabase: summaryOf(newest) },
      },
      writeEntries,
    )
    return true
  })
}

function summaryOf({ number, at, root }: Checkpoint): object {
  return { block: number, at: new Date(at).toISOString(), root }
}

/** What a node says of a hold. */
export function holdWords({ reason, beganAt }: Hold): string {
  return `In hold since ${beganAt.toISOString()}: ${reason} What comes in is kept; nothing is claimed, and nothing leaves. See: trestle hold. It goes on with: trestle hold release`
}

/** For a run that was under way when a hold began: it costs no attempt, and is tried again when the hold is over. */
export function deferredByHold(now: number): CallOutcome {
  return {
    as: 'deferred',
    until: now + LOOK_EVERY_MS,
    code: 'in_hold',
    reason: 'The platform is in hold: nothing leaves until a person releases it (trestle hold release).',
  }
}

/** A person's own question to a provider waits, too: it may exchange a token that was exchanged since the copy. */
export async function refuseInHold(client: Queryable): Promise<void> {
  const { open } = await readHolds(client)
  if (open) throw new UsageError('state_conflict', `Nothing leaves. ${holdWords(open)}`)
}
