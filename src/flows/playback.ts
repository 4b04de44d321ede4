import { turn } from '../base/index.ts'
import type { JournalRow } from './run.ts'

interface Requested {
  readonly deliver: (row: JournalRow) => void
}

interface Queued {
  readonly row: JournalRow
  committed: boolean
}

/**
 * Gives results to the flow's code one at a time, in the order of their journal sequence, the next only after a
 * turn of the event loop; live ones only once committed. So the code sees the same history each time it is run,
 * whatever `Promise.all`, `race` or loops it is made of.
 */
export interface Playback {
  /** Finished and not yet delivered. */
  find(name: string, ordinal: number): JournalRow | undefined
  /** Waits for the step's result; `deliver` is called when its turn has come. */
  request(name: string, ordinal: number, deliver: (row: JournalRow) => void): void
  /** Takes the next sequence for a live result. It is delivered after {@link Playback.committed}. */
  append(row: Omit<JournalRow, 'seq'>): JournalRow
  committed(row: JournalRow): void
  /** The last row delivered: what `now()`, `random()` and `uuid()` derive from. */
  readonly last: JournalRow | undefined
  /** Everything that the journal held when the execution began has been delivered. */
  readonly replayed: boolean
  /** Rows of the journal that the flow's code has not asked for. */
  unasked(): readonly JournalRow[]
  /** Nothing can be delivered now. */
  readonly idle: boolean
}

/** Live results are numbered from `firstSeq`. `onIdle` is called whenever everything that could be delivered was, and the code has had its turn. */
export function createPlayback(
  journal: readonly JournalRow[],
  firstSeq: number,
  onIdle: () => void,
): Playback {
  const queue: Queued[] = journal.map((row) => ({ row, committed: true }))
  const rows = new Map(journal.map((row) => [stepKey(row.name, row.ordinal), row]))
  const requested = new Map<string, Requested>()
  let toReplay = journal.length
  let nextSeq = firstSeq
  let last: JournalRow | undefined
  let pumping = false

  async function pump(): Promise<void> {
    if (pumping) return
    pumping = true
    await turn()
    for (;;) {
      const first = queue[0]
      const waiting =
        first?.committed === true ? requested.get(stepKey(first.row.name, first.row.ordinal)) : undefined
      if (!first || !waiting) break
      queue.shift()
      requested.delete(stepKey(first.row.name, first.row.ordinal))
      if (toReplay > 0) toReplay--
      last = first.row
      waiting.deliver(first.row)
      await turn()
    }
    pumping = false
    onIdle()
  }

  return {
    find: (name, ordinal) => rows.get(stepKey(name, ordinal)),
    request(name, ordinal, deliver) {
      requested.set(stepKey(name, ordinal), { deliver })
      void pump()
    },
    append(row) {
      const numbered: JournalRow = { ...row, seq: nextSeq++ }
      queue.push({ row: numbered, committed: false })
      rows.set(stepKey(row.name, row.ordinal), numbered)
      return numbered
    },
    committed(row) {
      const entry = queue.find((queued) => queued.row === row)
      if (entry) entry.committed = true
      void pump()
    },
    get last() {
      return last
    },
    get replayed() {
      return toReplay === 0
    },
    unasked: () =>
      queue
        .slice(0, toReplay)
        .filter(({ row }) => !requested.has(stepKey(row.name, row.ordinal)))
        .map(({ row }) => row),
    get idle() {
      return !pumping
    },
  }
}

/** A step is found by its name and its ordinal among equal names in the run. */
export function stepKey(name: string, ordinal: number): string {
  return `${name}#${ordinal}`
}
