import { HOUR, MINUTE } from '../base/index.ts'
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

/** After the start there is more urgent work. */
const FIRST_AFTER_MS = MINUTE
const EVERY_MS = HOUR

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

/**
 * Makes the ledger's days to come and drops those that are kept no longer, until stopped: soon after the start, so that
 * a node which is restarted often does it too, and every hour.
 */
export function startLedgerDays(
  installation: Installation,
  onFault: (what: string, error: unknown) => void,
): () => Promise<void> {
  let stopped = false
  let under: Promise<void> = Promise.resolve()
  let cancel: () => void = () => {}
  const schedule = (ms: number): void => {
    if (stopped) return
    cancel = installation.clock.after(ms, () => {
      under = keepLedgerDays(installation, () => stopped)
        .catch((error: unknown) => onFault('ledger partitions', error))
        .finally(() => schedule(EVERY_MS))
    })
  }
  schedule(FIRST_AFTER_MS)
  return () => {
    stopped = true
    cancel()
    return under
  }
}

/** Makes the days to come, and drops those that are kept no longer. What is busy now is dropped an hour later. */
async function keepLedgerDays({ database, clock }: Installation, stopped: () => boolean): Promise<void> {
  await ensurePartitions(database.pool, clock.now())
  await forgetSpending(database.pool)
  // One day at a time, so that writers wait for none of it.
  for (let more = true; more && !stopped();)
    ({ more } = await transaction(database.pool, (client) => dropExpired(client, clock.now())))
}
