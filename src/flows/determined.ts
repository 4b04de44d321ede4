import { createHash } from 'node:crypto'
import type { JournalRow } from './run.ts'

/** `now`, `random` and `uuid` of a run: derived from its id and the last delivered result, so that a resume sees the same. */
export interface Determined {
  now(): Date
  random(): number
  uuid(): string
}

export function createDetermined(
  runId: string,
  createdAt: number,
  last: () => JournalRow | undefined,
): Determined {
  let seq = -1
  let drawn = 0

  function draw(kind: string): Buffer {
    const at = last()?.seq ?? 0
    if (at !== seq) {
      seq = at
      drawn = 0
    }
    return createHash('sha256').update(`${runId}\0${at}\0${kind}\0${drawn++}`).digest()
  }

  return {
    now: () => new Date(last()?.finishedAt ?? createdAt),
    // 53 bits, as many as a double between 0 and 1 can hold evenly.
    random: () => (draw('random').readUIntBE(0, 6) * 32 + (draw('random')[0]! & 31)) / 2 ** 53,
    uuid() {
      const bytes = draw('uuid').subarray(0, 16)
      bytes[6] = (bytes[6]! & 0x0f) | 0x80 // Version 8, RFC 9562: derived by a rule of our own.
      bytes[8] = (bytes[8]! & 0x3f) | 0x80
      const hex = bytes.toString('hex')
      return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
    },
  }
}
