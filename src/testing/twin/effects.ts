import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs'
import type { EffectNote } from './routes.ts'

/** One effect in a twin's ledger. */
export interface Effect extends EffectNote {
  /** From 1, in the order in which the provider acted. */
  readonly number: number
  /** Name of the twin. */
  readonly twin: string
  /** Milliseconds since 1970. */
  readonly at: number
  /** The number of the request that caused it; 0 where the twin acted by itself. */
  readonly request: number
}

/** What a provider did. The witness of crash tests: complete, in order, and on disk before any answer leaves. */
export interface EffectLedger {
  note(effect: EffectNote, at: number, request: number): void
  list(): readonly Effect[]
  close(): void
}

/** A ledger of effects; with `witnessFile` each is one line of JSON there, written and synced before `note` returns. */
export function createEffectLedger(twin: string, witnessFile?: string): EffectLedger {
  const effects: Effect[] = []
  let file = witnessFile === undefined ? undefined : openSync(witnessFile, 'a')
  return {
    note(effect, at, request) {
      const entry: Effect = { ...effect, number: effects.length + 1, twin, at, request }
      if (file !== undefined) {
        writeSync(file, `${JSON.stringify(entry)}\n`)
        fsyncSync(file)
      }
      effects.push(entry)
    },
    list: () => effects,
    close() {
      if (file !== undefined) closeSync(file)
      file = undefined
    },
  }
}

/** Effects that happened more than once for the same kind and key, with how often. Empty is what one hopes for. */
export function repeatedEffects(
  effects: readonly EffectNote[],
): { kind: string; key: string; times: number }[] {
  const counts = new Map<string, { kind: string; key: string; times: number }>()
  for (const { kind, key } of effects) {
    const id = `${kind}\n${key}`
    const seen = counts.get(id) ?? { kind, key, times: 0 }
    seen.times++
    counts.set(id, seen)
  }
  return [...counts.values()].filter(({ times }) => times > 1)
}
