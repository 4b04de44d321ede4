import { closeSync, openSync, readSync } from 'node:fs'
import { open, type FileHandle } from 'node:fs/promises'
import { StringDecoder } from 'node:string_decoder'

/** The sender's book: one line for each delivery that got a 2xx, on disk before anything is concluded from it. */
export interface SourceLedger {
  /** Resolves when the line is synced; lines written at once share a sync. */
  acknowledged(id: string, status: number): Promise<void>
  close(): Promise<void>
}

export async function openSourceLedger(file: string): Promise<SourceLedger> {
  const handle = await open(file, 'a', 0o600)
  let lines = ''
  let writing: Promise<void> | undefined
  let next: Promise<void> | undefined
  const flush = async (before: Promise<void> | undefined): Promise<void> => {
    await before
    next = undefined
    writing = appendSynced(handle, lines)
    lines = ''
    await writing
  }
  return {
    acknowledged(id, status) {
      lines += `${JSON.stringify({ id, status })}\n`
      next ??= flush(writing)
      return next
    },
    async close() {
      await next
      await handle.close()
    },
  }
}

async function appendSynced(handle: FileHandle, text: string): Promise<void> {
  await handle.write(text)
  await handle.sync()
}

/** An effect as the provider's witness file holds it. */
export interface WitnessedEffect {
  readonly number: number
  readonly kind: string
  readonly key: string
  readonly at: number
}

/** What the provider did, read from its witness file as it grows. */
export interface Witness {
  /** Reads what came since the last time. */
  look(): void
  /** Each effect's key, with the places at which it happened in the order of all effects. */
  readonly places: ReadonlyMap<string, readonly number[]>
  /** When the effect with this key happened first, in milliseconds since 1970. */
  firstAt(key: string): number | undefined
  readonly size: number
  close(): void
}

const CHUNK = 1 << 20

export function openWitness(file: string): Witness {
  const handle = openSync(file, 'a+')
  const places = new Map<string, number[]>()
  const firsts = new Map<string, number>()
  const decoder = new StringDecoder('utf8')
  const chunk = Buffer.alloc(CHUNK)
  let offset = 0
  let rest = ''
  let size = 0
  const note = (line: string): void => {
    const { key, at } = JSON.parse(line) as WitnessedEffect
    size++
    const known = places.get(key)
    if (known) known.push(size)
    else places.set(key, [size])
    if (!firsts.has(key)) firsts.set(key, at)
  }
  return {
    places,
    firstAt: (key) => firsts.get(key),
    get size() {
      return size
    },
    look() {
      for (;;) {
        const read = readSync(handle, chunk, 0, CHUNK, offset)
        if (read === 0) return
        offset += read
        const lines = (rest + decoder.write(chunk.subarray(0, read))).split('\n')
        rest = lines.pop()!
        for (const line of lines) note(line)
      }
    },
    close: () => closeSync(handle),
  }
}
