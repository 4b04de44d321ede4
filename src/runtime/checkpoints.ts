import { appendFile, mkdir, open, readFile, rename } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import type { Checkpoint } from '../ledger/index.ts'

/** Checkpoints leave the database into this file, a line of JSON each: copy it off the machine. */
export function checkpointFile(folder: string): string {
  return resolve(folder, '.trestle', 'checkpoints.jsonl')
}

export async function appendCheckpoint(folder: string, checkpoint: Checkpoint): Promise<void> {
  const file = checkpointFile(folder)
  // The folder is its owner's alone, whoever makes it first: the master key may come to lie in it.
  await mkdir(dirname(file), { recursive: true, mode: 0o700 })
  await appendFile(file, `${JSON.stringify(checkpoint)}\n`, { mode: 0o600 })
}

/** Every checkpoint of the file, oldest first. A last line that a crash cut short is left out. */
export async function readCheckpoints(folder: string): Promise<Checkpoint[]> {
  const text = await readFile(checkpointFile(folder), 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return ''
    throw error
  })
  return text.split('\n').flatMap((line) => {
    try {
      return [JSON.parse(line) as Checkpoint]
    } catch {
      return []
    }
  })
}

export async function newestCheckpoint(folder: string): Promise<Checkpoint | undefined> {
  return (await readCheckpoints(folder)).at(-1)
}

/** Checkpoints of blocks that a database which was put back from a copy does not have. */
export interface LostBlocks {
  /** Blocks beyond the copy's newest, as far as checkpoints tell of them. */
  readonly blocks: number
  /** Entries in those of which a checkpoint is there: at least so many are lost. */
  readonly entries: number
  readonly newest: Checkpoint | undefined
}

/** What left the database after its copy was made, by the checkpoints of the project. */
export async function blocksAfter(folder: string, block: number): Promise<LostBlocks> {
  const beyond = new Map(
    (await readCheckpoints(folder)).filter(({ number }) => number > block).map((one) => [one.number, one]),
  )
  const newest = [...beyond.values()].reduce<Checkpoint | undefined>(
    (last, one) => (last === undefined || one.number > last.number ? one : last),
    undefined,
  )
  const entries = [...beyond.values()].reduce((sum, one) => sum + one.entries, 0)
  return { blocks: newest === undefined ? 0 : newest.number - block, entries, newest }
}

/**
 * After a restore: checkpoints beyond the copy's newest block are of a life that the database knows nothing of. The file
 * as it was is kept beside, and its name is answered; `undefined` where there was nothing to take out.
 */
export async function putAsideCheckpoints(
  folder: string,
  block: number,
  now: number,
): Promise<string | undefined> {
  const all = await readCheckpoints(folder)
  const kept = all.filter(({ number }) => number <= block)
  if (kept.length === all.length) return undefined
  const file = checkpointFile(folder)
  const aside = `${file.slice(0, -'.jsonl'.length)}.before-${new Date(now).toISOString().replaceAll(/[:.]/g, '-')}.jsonl`
  const draft = `${file}.new`
  const handle = await open(draft, 'w', 0o600)
  try {
    await handle.writeFile(kept.map((one) => `${JSON.stringify(one)}\n`).join(''))
    await handle.sync()
  } finally {
    await handle.close()
  }
  await rename(file, aside)
  await rename(draft, file)
  return aside
}
