import { existsSync, readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { Option, type Command } from 'commander'
import { MINUTE, UsageError } from '../../base/index.ts'
import { openDatabase, type Queryable } from '../../db/index.ts'
import {
  databaseSource,
  KEEP_DAYS,
  verifyLedger,
  type Checkpoint,
  type LedgerSource,
} from '../../ledger/index.ts'
import { checkpointFile, findDatabase } from '../../runtime/index.ts'
import { copySource, writeCopy } from '../audit/copy.ts'
import { reportWords } from '../audit/report.ts'
import { closingAfter } from '../closingAfter.ts'
import { addCommand, addGroup, type CommandContext } from '../command.ts'
import { environmentOf } from '../environment.ts'
import { EXIT, type ExitCode } from '../exitCodes.ts'
import { wholeNumber } from '../parse.ts'
import type { Progress } from '../progress.ts'

interface VerifyOptions {
  readonly from?: string
  readonly checkpoints?: string
  readonly publicKey?: string
  readonly keepDays: number
}

/** `trestle audit`: whether the ledger is what was written. */
export function addAudit(program: Command): void {
  const audit = addGroup(program, 'audit', 'whether the ledger is what was written')

  addCommand(audit, {
    usage: 'verify',
    summary: 'check every entry against the signed blocks and the checkpoints',
    isDefault: true,
    details: [
      'Reads the database, or with --from a copy made by "trestle audit export", offline. Ends with 1 where something',
      'does not hold. What it proves rests on checkpoints and on the public key that were kept outside the database.',
    ].join('\n'),
    examples: [
      'trestle audit verify',
      'trestle audit verify --from ledger.jsonl.gz --checkpoints kept.jsonl --public-key 3f1c…',
    ],
    options: [
      new Option('--from <file>', 'a copy in place of the database'),
      new Option('--checkpoints <file>', 'JSON lines; by default .trestle/checkpoints.jsonl'),
      new Option('--public-key <hex>', 'the key that you trust; by default that of the first checkpoint'),
      new Option('--keep-days <days>', 'days that must be there, whatever the ledger says of retention')
        .argParser(wholeNumber('days', 0, 36_500))
        .default(KEEP_DAYS),
    ],
    async run(context, _args, options: VerifyOptions) {
      const checkpoints = checkpointsFrom(options.checkpoints ?? checkpointFile(context.folder), options)
      const publicKey = trustedKey(options.publicKey, checkpoints)
      const verify = async (source: LedgerSource, total: number | undefined): Promise<ExitCode> => {
        const progress = context.output.progress('Checking the ledger')
        const report = await verifyLedger({
          source: counting(source, progress, total),
          checkpoints,
          publicKeys: [publicKey],
          keepDays: options.keepDays,
        }).finally(() => progress.end())
        const hex = publicKey.toString('hex')
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
    },
  })

  addCommand(audit, {
    usage: 'export <file>',
    summary: 'write a copy of the ledger that can be checked offline',
    details: 'JSON lines; compressed where the name ends in .gz.',
    examples: ['trestle audit export ledger.jsonl.gz'],
    run: (context, [file = '']) =>
      withLedger(context, async (source, total) => {
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
      }),
  })
}

/** Reads the ledger at one moment. Needs no master key and no configuration. */
async function withLedger<Result>(
  { folder }: CommandContext,
  work: (source: LedgerSource, total: number) => Promise<Result>,
): Promise<Result> {
  const environment = environmentOf(folder)
  if (!environment['DATABASE_URL'] && !existsSync(resolve(folder, '.trestle', 'postgres')))
    throw new UsageError(
      'database_missing',
      `There is no database in ${resolve(folder, '.trestle')}, and DATABASE_URL is not set. Name the project's folder with --folder.`,
    )
  const found = await findDatabase(folder, environment)
  // A day of a large ledger takes its time to be sorted.
  const database = openDatabase({
    url: found.url,
    max: 1,
    name: 'trestle audit',
    statementTimeoutMs: 30 * MINUTE,
  })
  const client = await database.pool.connect().catch(async (error: unknown) => {
    await found.release()
    throw error
  })
  const close = async (): Promise<void> => {
    client.release(true) // Whatever is under way ends with its connection.
    await database.close()
    await found.release()
  }
  return closingAfter(close, async () => {
    await client.query('begin isolation level repeatable read read only')
    return work(databaseSource(client), await countEntries(client))
  })
}

async function countEntries(client: Queryable): Promise<number> {
  const { rows } = await client.query<{ entries: string }>(
    'select coalesce(sum(entries), 0)::text as entries from ledger_batches',
  )
  return Number(rows[0]?.entries ?? 0)
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

/** Checkpoints of a file that was named must be there; those of the project may not be yet. */
function checkpointsFrom(file: string, named: { readonly checkpoints?: string }): Checkpoint[] {
  if (!existsSync(file) && named.checkpoints === undefined) return []
  const lines = readFileSync(existing(file), 'utf8').split('\n')
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
      'Give the public key that you trust with --public-key HEX, or checkpoints with --checkpoints FILE: without either nothing can be proved. A server writes both to .trestle/checkpoints.jsonl within a minute.',
    )
  if (!/^[0-9a-f]{64}$/i.test(hex))
    throw new UsageError('public_key_invalid', `"${hex}" is no public key: it is 64 hexadecimal digits.`)
  return Buffer.from(hex, 'hex')
}

function existing(file: string): string {
  if (existsSync(file)) return resolve(file)
  throw new UsageError('file_missing', `There is no file ${resolve(file)}.`)
}
