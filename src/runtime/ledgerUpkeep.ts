import { MINUTE } from '../base/index.ts'
import { forgetSpending } from '../calls/index.ts'
import { transaction } from '../db/index.ts'
import {
  dropExpired,
  ensurePartitions,
  LedgerSealer,
  openLedgerKey,
  type Checkpoint,
} from '../ledger/index.ts'
import { appendCheckpoint, newestCheckpoint } from './checkpoints.ts'
import type { Installation } from './installation.ts'

const PARTITIONS_EVERY_MS = 60 * MINUTE

/** Signs the ledger's batches, and takes each checkpoint out of the database. */
export async function startSealer(
  { database, vault, clock, random, folder }: Installation,
  onFault: (what: string, error: unknown) => void,
): Promise<LedgerSealer> {
  const key = await openLedgerKey(database.pool, vault.installationSeal('ledger-key'), random)
  const known = await newestCheckpoint(folder)
  const sealer = new LedgerSealer({
    pool: database.pool,
    key,
    clock,
    publish: (checkpoint: Checkpoint) => appendCheckpoint(folder, checkpoint),
    ...(known && { known }),
    onError: (error) => onFault('seal the ledger', error),
  })
  sealer.start()
  return sealer
}

/** Makes the ledger's days to come and drops those that are kept no longer, until stopped. */
export function startLedgerDays(
  installation: Installation,
  onFault: (what: string, error: unknown) => void,
): () => Promise<void> {
  return repeat(
    installation,
    PARTITIONS_EVERY_MS,
    () => keepLedgerDays(installation),
    (error) => onFault('ledger partitions', error),
  )
}

/** Makes the days to come, and drops those that are kept no longer. What is busy now is dropped an hour later. */
async function keepLedgerDays({ database, clock }: Installation): Promise<void> {
  await ensurePartitions(database.pool, clock.now())
  await forgetSpending(database.pool)
  while ((await transaction(database.pool, (client) => dropExpired(client, clock.now()))).more) {
    // One day at a time, so that writers wait for none of it.
  }
}

/** Does something every now and then until stopped. */
function repeat(
  { clock }: Installation,
  everyMs: number,
  work: () => Promise<unknown>,
  onError: (error: unknown) => void,
): () => Promise<void> {
  let stopped = false
  let cancel: () => void = () => {}
  const schedule = (): void => {
    cancel = clock.after(everyMs, () => {
      work()
        .catch(onError)
        .finally(() => {
          if (!stopped) schedule()
        })
    })
  }
  schedule()
  return () => {
    stopped = true
    cancel()
    return Promise.resolve()
  }
}
