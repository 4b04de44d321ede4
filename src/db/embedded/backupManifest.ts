import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { UsageError } from '../../base/index.ts'
import type { CopiedFile } from './backupFiles.ts'

/** Written last: a folder without it is no backup. */
export const MANIFEST_FILE = 'manifest.json'

/** What the copy is to be held against, as the database said it right before the copy ended. */
export interface BackupFacts {
  /** PostgreSQL's version: `18.4`. */
  readonly postgres: string
  /** The version of Trestle that made it. */
  readonly trestle: string
  /** Migrations that had been applied. */
  readonly migrations: readonly string[]
  /** The newest signed block of the ledger, as a checkpoint; null before the first. */
  readonly ledger: unknown
  /** Rows at that moment, at the least, of what is told apart best. */
  readonly counts: Readonly<Record<string, number>>
  /** Names of the master keys under which something is sealed. The keys themselves are never in a backup. */
  readonly masterKeys: readonly string[]
}

/** What a backup says of itself. */
export interface BackupManifest extends BackupFacts {
  readonly format: 'trestle-backup'
  readonly formatVersion: 1
  readonly startedAt: string
  /** What was committed before this is in the copy; what was begun and is not in it was begun after. */
  readonly consistentAt: string
  readonly endedAt: string
  /** `linux-x64`: the files are for this kind of machine. */
  readonly platform: string
  readonly node: string
  /** Where in PostgreSQL's log the copy is consistent. */
  readonly stopLsn: string
  /** The segments of PostgreSQL's log that came with it. */
  readonly log: { readonly first: string; readonly last: string }
  readonly bytes: number
  /** Every file below `data/`, by path. */
  readonly files: readonly CopiedFile[]
  /** SHA-256 of the manifest without this member. */
  readonly digest: string
}

export function digestOf(unsigned: Omit<BackupManifest, 'digest'>): string {
  return createHash('sha256').update(JSON.stringify(unsigned)).digest('hex')
}

/** Reads what a folder says of itself. Throws a {@link UsageError} where it is no backup, or not a whole one. */
export async function readManifest(from: string): Promise<BackupManifest> {
  const folder = resolve(from)
  const names = await readdir(folder).catch(() => undefined)
  if (!names) throw new UsageError('backup_missing', `There is no folder ${folder}.`)
  if (!names.includes(MANIFEST_FILE))
    throw new UsageError(
      'backup_incomplete',
      names.includes('data')
        ? `${folder} is what is left of a backup that was cut short: it has no ${MANIFEST_FILE}. Use another one.`
        : `${folder} is no backup: it has no ${MANIFEST_FILE}. Make one with: trestle backup FOLDER`,
    )
  let manifest: BackupManifest
  try {
    manifest = JSON.parse(await readFile(join(folder, MANIFEST_FILE), 'utf8')) as BackupManifest
  } catch (cause) {
    throw damaged(folder, 'cannot be read', cause)
  }
  if (manifest.format !== 'trestle-backup')
    throw new UsageError('backup_invalid', `${join(folder, MANIFEST_FILE)} is not of a backup of Trestle.`)
  if (manifest.formatVersion !== 1)
    throw new UsageError(
      'backup_invalid',
      `${folder} was made by a newer Trestle (${manifest.trestle}). Restore it with that version.`,
    )
  const { digest, ...unsigned } = manifest
  if (digestOf(unsigned) !== digest) throw damaged(folder, 'was changed after it was written')
  return manifest
}

function damaged(folder: string, how: string, cause?: unknown): UsageError {
  return new UsageError(
    'backup_damaged',
    `The manifest of ${folder} ${how}: this backup cannot be trusted. Use another one.`,
    { cause },
  )
}
