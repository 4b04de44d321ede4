import { createReadStream, createWriteStream } from 'node:fs'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { finished } from 'node:stream/promises'
import { createGunzip, createGzip } from 'node:zlib'
import { reasonOf, UsageError } from '../../base/index.ts'
import type { BatchRow, Block, EntryRow, LedgerSource } from '../../ledger/index.ts'

/**
 * A copy of the ledger in one file, so that it can be checked where there is no database: JSON lines, each with its
 * kind, compressed where the name ends in `.gz`. In the order that verification reads: entries, batches, the same
 * batches by block, blocks. Bytes are base64.
 */
const KINDS = ['entry', 'batch', 'sealed', 'block'] as const
type Kind = (typeof KINDS)[number]

/** Writes a copy; `onEntry` is told of each entry. Refuses to overwrite. */
export async function writeCopy(source: LedgerSource, file: string, onEntry: () => void): Promise<number> {
  const out = createWriteStream(file, { flags: 'wx', mode: 0o600 })
  await once(out, 'open').catch((cause: NodeJS.ErrnoException) => {
    throw new UsageError(
      'file_unwritable',
      cause.code === 'EEXIST'
        ? `${file} is there already. Name a new file, or remove that one.`
        : `${file} cannot be written (${cause.code}).`,
      { cause },
    )
  })
  const lines = file.endsWith('.gz') ? createGzip() : undefined
  const sink = lines ?? out
  lines?.pipe(out)
  const write = async (kind: Kind, row: object): Promise<void> => {
    if (!sink.write(`${JSON.stringify({ kind, ...row }, base64Bytes)}\n`)) await once(sink, 'drain')
  }
  let entries = 0
  for await (const row of source.entries()) {
    await write('entry', row)
    entries++
    onEntry()
  }
  for await (const row of source.batches()) await write('batch', row)
  for await (const row of source.sealedBatches()) await write('sealed', row)
  for await (const row of source.blocks()) await write('block', row)
  sink.end()
  await finished(out)
  return entries
}

/** Reads a copy for verification. Each of the four reads the file once. */
export function copySource(file: string): LedgerSource {
  return {
    entries: () => readKind<EntryRow>(file, 'entry'),
    batches: () => readKind<BatchRow>(file, 'batch'),
    sealedBatches: () => readKind<BatchRow>(file, 'sealed'),
    blocks: () => readKind<Block>(file, 'block'),
  }
}

// oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- the caller names what lines of that kind hold
async function* readKind<Row>(file: string, kind: Kind): AsyncGenerator<Row> {
  const raw = createReadStream(file)
  const input = file.endsWith('.gz') ? raw.pipe(createGunzip()) : raw
  raw.on('error', (error) => input.destroy(error))
  const prefix = `{"kind":"${kind}",`
  let number = 0
  try {
    for await (const line of createInterface({ input, crlfDelay: Infinity })) {
      number++
      if (line.startsWith(prefix)) yield JSON.parse(line, bytesFromBase64) as Row
      else if (line !== '' && !KINDS.some((known) => line.startsWith(`{"kind":"${known}",`)))
        throw new UsageError('copy_unreadable', `Line ${number} is not one of a ledger's copy.`)
    }
  } catch (cause) {
    throw new UsageError(
      'copy_unreadable',
      `${file} cannot be read as a copy of a ledger: ${reasonOf(cause)} Make one with: trestle audit export FILE`,
      { cause },
    )
  } finally {
    raw.destroy()
  }
}

/** Columns that hold bytes. */
const BYTES = new Set(['entry', 'root', 'previous', 'signature'])

function base64Bytes(this: Record<string, unknown>, key: string, value: unknown): unknown {
  const bytes = this[key]
  return BYTES.has(key) && Buffer.isBuffer(bytes) ? bytes.toString('base64') : value
}

function bytesFromBase64(key: string, value: unknown): unknown {
  return BYTES.has(key) && typeof value === 'string' ? Buffer.from(value, 'base64') : value
}
