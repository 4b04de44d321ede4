import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { UsageError } from '../../base/index.ts'
import { backupEmbedded, type BackupManifest } from '../../db/index.ts'
import type { Checkpoint } from '../../ledger/index.ts'
import { embeddedFolder, findDatabase } from '../../runtime/index.ts'
import { closingAfter } from '../closingAfter.ts'
import type { CommandContext } from '../command.ts'
import { environmentOf } from '../environment.ts'
import { facts } from '../output.ts'
import { timeWords } from '../times.ts'
import { readFacts } from './facts.ts'
import { verifyBackup, type Verified } from './verify.ts'

/** Makes a backup of the embedded server, whether it is in use or not, and says what is in it. */
export async function createBackup(
  context: CommandContext,
  to: string,
  { verify }: { readonly verify?: boolean },
): Promise<void> {
  const { folder, output, clock } = context
  const environment = environmentOf(folder)
  if (environment['DATABASE_URL']) throw ownServer()
  const dataDir = embeddedFolder(folder)
  if (!existsSync(dataDir))
    throw new UsageError(
      'database_missing',
      `There is no database in ${dataDir}. Name the project's folder with --folder.`,
    )
  const found = await findDatabase(folder, environment)
  const target = resolve(to)
  let verified: Verified | undefined
  const progress = output.progress('Copying')
  const manifest = await closingAfter(
    () => found.release(),
    () =>
      backupEmbedded({
        dataDir,
        url: found.url,
        to: target,
        clock,
        facts: readFacts,
        onProgress: (done, total) => progress.to(Math.ceil(done / 1_000_000), Math.ceil(total / 1_000_000)),
        ...(verify && {
          check: async (staged) => {
            progress.end()
            verified = await verifyBackup(staged, output)
          },
        }),
      }),
  ).finally(() => progress.end())
  const { files, ...summary } = manifest
  output.answer({ folder: target, ...summary, files: files.length, verified: verified ?? null }, () =>
    [`The backup is in ${target}.`, manifestWords(manifest, context), verifiedWords(verified), KEY_APART]
      .filter((line) => line !== '')
      .join('\n'),
  )
}

/** What a backup says of itself, for people. */
export function manifestWords(manifest: BackupManifest, { clock }: Pick<CommandContext, 'clock'>): string {
  const ledger = manifest.ledger as Checkpoint | null
  return facts([
    ['Holds what was committed before', timeWords(manifest.consistentAt, clock)],
    ['Size', `${(manifest.bytes / 1_000_000).toFixed(1)} MB in ${manifest.files.length} files`],
    ['Made by', `Trestle ${manifest.trestle}, PostgreSQL ${manifest.postgres}, ${manifest.platform}`],
    ['Runs', manifest.counts['runs']?.toLocaleString('en-US')],
    ['Events', manifest.counts['events']?.toLocaleString('en-US')],
    [
      'Ledger',
      ledger === null
        ? 'no signed block yet'
        : `up to block ${ledger.number} of ${timeWords(ledger.at, clock)}`,
    ],
    ['Master key', manifest.masterKeys.length === 0 ? 'nothing is sealed' : manifest.masterKeys.join(', ')],
  ])
}

function verifiedWords(verified: Verified | undefined): string {
  if (!verified) return 'Not verified: add --verify to start a server on a copy and check its ledger.'
  return `Verified: ${verified.files} files are as written; a server on a copy recovered, and ${verified.entries.toLocaleString('en-US')} entries of its ledger in ${verified.blocks.toLocaleString('en-US')} blocks hold together.`
}

const KEY_APART =
  'The master key is not in it: keep a copy of TRESTLE_MASTER_KEY (or .trestle/master.key) elsewhere. All else is as in the database: keep the folder as closed as that.'

/** One's own PostgreSQL has tools of its own, which know where it runs. */
export function ownServer(): UsageError {
  return new UsageError(
    'database_not_embedded',
    'DATABASE_URL names a PostgreSQL of your own, and its own tools copy and restore it: pg_basebackup with pg_verifybackup, or point-in-time recovery. The exact commands are in docs/guides/backup.md. After a restore, before any node starts: trestle hold begin --restored',
  )
}
