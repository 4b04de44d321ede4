import { appendFile, mkdir, readFile } from 'node:fs/promises'
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
