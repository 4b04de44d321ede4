import { resolve } from 'node:path'
import { UsageError } from '../../base/index.ts'
import {
  migrate,
  MIGRATION_NAMES,
  openDatabase,
  readManifest,
  restoreEmbedded,
  transaction,
  type BackupManifest,
} from '../../db/index.ts'
import { ensurePartitions, writeEntries, type Actor, type Checkpoint } from '../../ledger/index.ts'
import { beginHold } from '../../operator/index.ts'
import { blocksAfter, embeddedFolder, putAsideCheckpoints } from '../../runtime/index.ts'
import type { FoundMasterKey } from '../../vault/index.ts'
import type { CommandContext } from '../command.ts'
import { environmentOf } from '../environment.ts'
import { timeWords } from '../times.ts'
import { manifestWords, ownServer } from './create.ts'
import { openVault, requireMasterKey } from './vaultKey.ts'
import { verifyBackup } from './verify.ts'

export interface RestoreCommandOptions {
  readonly replace?: boolean
  readonly check?: boolean
  /** Milliseconds since 1970. */
  readonly stoppedAt?: number
}

/** Puts a backup in place of the embedded server's data, marked as restored before anybody can reach it. */
export async function restoreBackup(
  context: CommandContext,
  from: string,
  options: RestoreCommandOptions,
): Promise<void> {
  const { folder, output, clock, actor } = context
  const environment = environmentOf(folder)
  if (environment['DATABASE_URL']) throw ownServer()
  const source = resolve(from)
  const manifest = await readManifest(source)
  const key = await requireMasterKey(folder, environment, manifest)
  output.notice(
    manifest.masterKeys.length === 0
      ? 'Nothing in this backup is sealed: any master key will do.'
      : `The master key fits: the vault of this backup opens with "${key.key.wrapper.id}".`,
  )
  refuseNewer(manifest)
  if (options.check) {
    const verified = await verifyBackup(source, output)
    output.answer({ folder: source, whole: true, ...verified }, () =>
      [`The backup in ${source} is whole, and can be restored.`, manifestWords(manifest, context)].join('\n'),
    )
    return
  }
  const lostFrom = Date.parse(manifest.consistentAt)
  const lostTo = options.stoppedAt ?? clock.now()
  if (lostTo < lostFrom)
    throw new UsageError(
      'lost_time_invalid',
      `--stopped-at is before the backup was made (${manifest.consistentAt}). Give the time at which the former platform had stopped.`,
    )
  const block = (manifest.ledger as Checkpoint | null)?.number ?? 0
  const lost = await blocksAfter(folder, block)
  const progress = output.progress('Restoring')
  const { keptAside } = await restoreEmbedded({
    from: source,
    dataDir: embeddedFolder(folder),
    replace: options.replace === true,
    clock,
    onProgress: (done, total) => progress.to(Math.ceil(done / 1_000_000), Math.ceil(total / 1_000_000)),
    mark: (url) =>
      markRestored(url, {
        key,
        actor,
        lost: { from: lostFrom, to: lostTo },
        now: clock.now(),
        detail: {
          backup: { folder: source, digest: manifest.digest, consistentAt: manifest.consistentAt },
          ledger: {
            newestInBackup: block,
            newestSeenOutside: lost.newest?.number ?? block,
            ...(lost.newest && { seenAt: new Date(lost.newest.at).toISOString() }),
            lostBlocks: lost.blocks,
            lostEntriesAtLeast: lost.entries,
          },
        },
      }),
  }).finally(() => progress.end())
  const checkpointsAside = await putAsideCheckpoints(folder, block, clock.now())
  output.answer(
    {
      folder: source,
      lostFrom: new Date(lostFrom),
      lostTo: new Date(lostTo),
      lostBlocks: lost.blocks,
      lostEntriesAtLeast: lost.entries,
      keptAside: keptAside ?? null,
      checkpointsAside: checkpointsAside ?? null,
      inHold: true,
    },
    () =>
      [
        `Restored: what was committed before ${timeWords(lostFrom, clock)} is there again.`,
        `What was done between then and ${timeWords(lostTo, clock)} is not known${lost.blocks === 0 ? '.' : `: ${lost.blocks} blocks of the ledger with ${lost.entries.toLocaleString('en-US')} entries or more had left the database.`}`,
        ...(keptAside === undefined ? [] : [`The former data is kept in ${keptAside}.`]),
        ...(checkpointsAside === undefined
          ? []
          : [`Checkpoints of the lost time are kept in ${checkpointsAside}.`]),
        'Trestle now starts in hold: it takes webhooks, claims nothing and sends nothing. Start it, look with "trestle hold", and let it go on with "trestle hold release".',
      ].join('\n'),
  )
}

function refuseNewer(manifest: BackupManifest): void {
  const unknown = manifest.migrations.filter((name) => !MIGRATION_NAMES.includes(name))
  if (unknown.length > 0)
    throw new UsageError(
      'backup_version',
      `The backup was made by Trestle ${manifest.trestle}, whose tables this version does not know (${unknown.join(', ')}). Restore it with that version or a newer one.`,
    )
}

interface Mark {
  readonly key: FoundMasterKey
  readonly actor: Actor
  readonly now: number
  readonly lost: { readonly from: number; readonly to: number }
  readonly detail: object
}

/** The first work on the restored database: today's tables, the vault opened for certain, and the hold. */
async function markRestored(url: string, mark: Mark): Promise<void> {
  const database = openDatabase({ url, max: 3, name: 'trestle restore', statementTimeoutMs: 600_000 })
  try {
    await migrate(database)
    await ensurePartitions(database.pool, mark.now)
    await openVault(database, mark.key)
    await transaction(database.pool, (client) =>
      beginHold(
        client,
        {
          kind: 'restored',
          reason: `The database was put back from the backup of ${new Date(mark.lost.from).toISOString()}.`,
          actor: mark.actor,
          now: mark.now,
          lost: mark.lost,
          detail: mark.detail,
        },
        writeEntries,
      ),
    )
  } finally {
    await database.close()
  }
}
