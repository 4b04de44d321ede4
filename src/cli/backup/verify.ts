import { dirname } from 'node:path'
import { MINUTE, UsageError } from '../../base/index.ts'
import { openDatabase, verifyBackupFiles, withScratchServer, type BackupManifest } from '../../db/index.ts'
import { databaseSource, verifyLedger, type Checkpoint } from '../../ledger/index.ts'
import type { Output } from '../output.ts'
import { countRows } from './facts.ts'

/** What was found when a server was started on a copy of the backup. */
export interface Verified {
  readonly files: number
  /** Entries of the ledger that hold together. */
  readonly entries: number
  readonly blocks: number
  readonly counts: Readonly<Record<string, number>>
}

/**
 * Reads every file, starts a server on a copy, lets it recover, counts its rows and checks its ledger against the block
 * that the manifest names. Throws `backup_damaged` with what does not hold.
 */
export async function verifyBackup(from: string, output: Output): Promise<Verified> {
  const reading = output.progress('Reading the backup')
  const { manifest, problems } = await verifyBackupFiles(from, (done, total) =>
    reading.to(megabytes(done), megabytes(total)),
  ).finally(() => reading.end())
  if (problems.length > 0)
    throw damaged(
      problems
        .slice(0, 5)
        .map(({ path, problem }) => `${path} is ${problem}`)
        .join('; '),
    )
  const copying = output.progress('Starting a server on a copy')
  return withScratchServer(
    {
      from,
      below: dirname(from),
      onProgress: (done, total) => copying.to(megabytes(done), megabytes(total)),
    },
    async (server) => {
      copying.end()
      return lookInto(server.url, manifest, output)
    },
  ).finally(() => copying.end())
}

async function lookInto(url: string, manifest: BackupManifest, output: Output): Promise<Verified> {
  const database = openDatabase({ url, max: 1, name: 'trestle backup', statementTimeoutMs: 30 * MINUTE })
  try {
    const client = await database.pool.connect()
    try {
      await client.query('begin isolation level repeatable read read only')
      const counts = await countRows(client)
      const fewer = Object.entries(manifest.counts).filter(([name, least]) => (counts[name] ?? 0) < least)
      if (fewer.length > 0)
        throw damaged(
          fewer.map(([name, least]) => `${name}: ${counts[name]} rows, and there were ${least}`).join('; '),
        )
      const ledger = await checkLedger(client, manifest, output)
      return { files: manifest.files.length, ...ledger, counts }
    } finally {
      client.release(true)
    }
  } finally {
    await database.close()
  }
}

async function checkLedger(
  client: Parameters<typeof databaseSource>[0],
  manifest: BackupManifest,
  output: Output,
): Promise<Pick<Verified, 'entries' | 'blocks'>> {
  const known = manifest.ledger as Checkpoint | null
  if (known === null) return { entries: 0, blocks: 0 }
  const progress = output.progress('Checking its ledger')
  const report = await verifyLedger({
    source: databaseSource(client),
    checkpoints: [known],
    publicKeys: [Buffer.from(known.publicKey, 'hex')],
  }).finally(() => progress.end())
  if (!report.ok) {
    const [first] = report.problems
    throw damaged(
      `its ledger has ${report.problemCount} problems, the first at ${first?.where}: ${first?.text}`,
    )
  }
  return { entries: report.checked.entries, blocks: report.checked.blocks }
}

function damaged(what: string): UsageError {
  return new UsageError('backup_damaged', `The backup is not what was written: ${what}. Make another one.`)
}

const megabytes = (bytes: number): number => Math.ceil(bytes / 1_000_000)
