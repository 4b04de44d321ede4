import { existsSync, readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { UsageError } from '../../base/index.ts'
import { verifyLedger, type Checkpoint, type LedgerSource } from '../../ledger/index.ts'
import { checkpointFile } from '../../runtime/index.ts'
import type { CommandContext } from '../command.ts'
import { EXIT, type ExitCode } from '../exitCodes.ts'
import type { Progress } from '../progress.ts'
import { copySource, writeCopy } from './copy.ts'
import { withLedger } from './openLedger.ts'
import { reportWords } from './report.ts'

export interface VerifyOptions {
  readonly from?: string
  readonly checkpoints?: string
  readonly publicKey?: string
  readonly keepDays?: number
}

/** Checks the ledger of the database, or of a copy, and reports. */
export async function verifyAudit(context: CommandContext, options: VerifyOptions): Promise<ExitCode> {
  const checkpoints = readCheckpoints(context.folder, options)
  const publicKey = trustedKey(options.publicKey, checkpoints)
  const hex = publicKey.toString('hex')
  const verify = async (source: LedgerSource, total: number | undefined): Promise<ExitCode> => {
    const progress = context.output.progress('Checking the ledger')
    const report = await verifyLedger({
      source: counting(source, progress, total),
      checkpoints,
      publicKeys: [publicKey],
      ...(options.keepDays === undefined ? {} : { keepDays: options.keepDays }),
    }).finally(() => progress.end())
    context.output.answer({ ...report, publicKey: hex }, () =>
      [
        reportWords(report, context.clock),
        ...(options.publicKey === undefined
          ? [`The key ${hex} was taken from the checkpoints. Compare it with the one that you kept.`]
          : []),
      ].join('\n'),
    )
    return report.ok ? EXIT.ok : EXIT.failed
  }
  if (options.from === undefined) return withLedger(context, verify)
  return verify(copySource(existing(options.from)), undefined)
}

/** Writes a copy of the database's ledger. */
export function exportAudit(context: CommandContext, file: string): Promise<void> {
  return withLedger(context, async (source, total) => {
    const progress = context.output.progress('Copying the ledger')
    let done = 0
    const path = resolve(file)
    const entries = await writeCopy(source, path, () => progress.to(++done, total)).finally(() =>
      progress.end(),
    )
    context.output.answer(
      { file: path, entries },
      () => `${entries.toLocaleString('en-US')} entries were copied to ${path}.`,
    )
  })
}

function counting(source: LedgerSource, progress: Progress, total: number | undefined): LedgerSource {
  return {
    ...source,
    async *entries() {
      let done = 0
      for await (const entry of source.entries()) {
        progress.to(++done, total)
        yield entry
      }
    },
  }
}

/**
 * Those of the file that was named, else those of the project, which may not be there yet. A copy is not held against
 * the project's: it may be older than they are, and would look cut.
 */
function readCheckpoints(folder: string, options: VerifyOptions): Checkpoint[] {
  const own = checkpointFile(folder)
  if (options.checkpoints === undefined && (options.from !== undefined || !existsSync(own))) return []
  const file = existing(options.checkpoints ?? own)
  const lines = readFileSync(file, 'utf8').split('\n')
  return lines.flatMap((line, i) => {
    if (line.trim() === '') return []
    try {
      return [JSON.parse(line) as Checkpoint]
    } catch (cause) {
      // A crash may have cut the last line short.
      if (i >= lines.length - 2) return []
      throw new UsageError('checkpoints_unreadable', `Line ${i + 1} of ${file} is no checkpoint.`, { cause })
    }
  })
}

function trustedKey(given: string | undefined, checkpoints: readonly Checkpoint[]): Buffer {
  const hex = given ?? checkpoints[0]?.publicKey
  if (hex === undefined)
    throw new UsageError(
      'public_key_missing',
      'Give the public key that you trust with --public-key HEX, or checkpoints with --checkpoints FILE: without either nothing can be proved. A server writes both to .trestle/checkpoints.jsonl within a minute; copy that file off the machine.',
    )
  if (!/^[0-9a-f]{64}$/i.test(hex))
    throw new UsageError('public_key_invalid', `"${hex}" is no public key: it is 64 hexadecimal digits.`)
  return Buffer.from(hex, 'hex')
}

function existing(file: string): string {
  if (existsSync(file)) return resolve(file)
  throw new UsageError('file_missing', `There is no file ${resolve(file)}.`)
}
