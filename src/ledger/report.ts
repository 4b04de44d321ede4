import type { BatchRow } from './verify.ts'
import type { Block } from './block.ts'
import { utcDay } from './entry.ts'

/** What tampering, or a fault, looks like. */
export type ProblemCode =
  | 'entry_inserted'
  | 'column_changed'
  | 'batch_changed'
  | 'batch_inserted'
  | 'entries_missing'
  | 'batches_missing'
  | 'block_changed'
  | 'block_missing'
  | 'chain_broken'
  | 'signature_invalid'
  | 'checkpoint_differs'
  | 'checkpoint_forged'
  | 'truncated'

export interface Problem {
  readonly code: ProblemCode
  /** The entry's or batch's id, the block's or checkpoint's number, or a day. */
  readonly where: string
  readonly text: string
}

/** Entries that retention has dropped, and said so. */
export interface Gap {
  /** `YYYY-MM-DD` of the batches without entries, or `blocks 1 to 2880` for blocks without batches. */
  readonly what: string
  readonly batches: number
  readonly entries: number
}

export interface VerifyReport {
  /** Whether nothing contradicts the signatures and checkpoints. Says nothing about the unsealed tail. */
  readonly ok: boolean
  /** What was read and hashed. */
  readonly checked: { readonly entries: number; readonly batches: number; readonly blocks: number }
  readonly checkpoints: {
    readonly given: number
    /** Blocks that a checkpoint confirms. */
    readonly matched: number
    /** The newest block that a checkpoint names; 0 without checkpoints. */
    readonly newest: number
  }
  /** In no block yet, so not proved by anything: whoever can write to the database could have changed it. */
  readonly unsealed: {
    readonly entries: number
    readonly batches: number
    readonly since: number | undefined
  }
  /** Signed, but after the newest checkpoint: a change is found, the removal of all of it is not. */
  readonly unconfirmed: { readonly entries: number; readonly blocks: number }
  readonly gaps: readonly Gap[]
  /** The first 1,000. */
  readonly problems: readonly Problem[]
  readonly problemCount: number
}

const PROBLEMS_KEPT = 1000

interface PrunedRange {
  readonly from: number
  to: number
  at: number
  batches: number
  entries: number
}

/** Counts while the ledger is read, and puts the report together. */
export class ReportBuilder {
  readonly #problems: Problem[] = []
  #problemCount = 0
  readonly #checked = { entries: 0, batches: 0, blocks: 0 }
  readonly #checkpoints = { given: 0, matched: 0, newest: 0 }
  readonly #unsealed: { entries: number; batches: number; since: number | undefined } = {
    entries: 0,
    batches: 0,
    since: undefined,
  }
  readonly #unconfirmed = { entries: 0, blocks: 0 }
  readonly #missing = new Map<string, { batches: number; entries: number }>()
  readonly #pruned: PrunedRange[] = []
  readonly #gaps: Gap[] = []
  /** Number of the last block read. */
  lastBlock = 0

  problem(code: ProblemCode, where: string, text: string): void {
    this.#problemCount++
    if (this.#problems.length < PROBLEMS_KEPT) this.#problems.push({ code, where, text })
  }

  /** A batch with its entries. */
  batch(batch: BatchRow, entries: number): void {
    this.#checked.batches++
    this.#checked.entries += entries
    if (batch.block !== null) return
    this.#unsealed.batches++
    this.#unsealed.entries += entries
    this.#unsealed.since = Math.min(this.#unsealed.since ?? Infinity, batch.at)
  }

  /** A batch without any entry. Judged at the end; one that is in no block was not retention's to drop. */
  missing(batch: BatchRow, day: string): void {
    if (batch.block === null) {
      this.problem(
        'entries_missing',
        batch.id,
        `The ${batch.entries} entries of this unsealed batch are gone.`,
      )
      return
    }
    const known = this.#missing.get(day) ?? { batches: 0, entries: 0 }
    known.batches++
    known.entries += batch.entries
    this.#missing.set(day, known)
  }

  block(block: Block, unconfirmed: boolean): void {
    this.#checked.blocks++
    this.lastBlock = block.number
    if (!unconfirmed) return
    this.#unconfirmed.blocks++
    this.#unconfirmed.entries += block.entries
  }

  /** A block without any batch. Judged at the end. */
  pruned(block: Block): void {
    const range = this.#pruned.at(-1)
    if (range?.to === block.number - 1) {
      range.to = block.number
      range.at = block.at
      range.batches += block.batches
      range.entries += block.entries
    } else
      this.#pruned.push({
        from: block.number,
        to: block.number,
        at: block.at,
        batches: block.batches,
        entries: block.entries,
      })
  }

  matched(): void {
    this.#checkpoints.matched++
  }

  checkpointsGiven(given: number, newest: number): void {
    this.#checkpoints.given = given
    this.#checkpoints.newest = newest
  }

  /** What is missing before `keptSince`, or in blocks up to `prunedThrough` sealed before it, is a gap; the rest a problem. */
  judgeGaps(stated: { readonly keptSince: string; readonly prunedThrough: number }): void {
    for (const { from, to, at, batches, entries } of this.#pruned) {
      const what = from === to ? `block ${from}` : `blocks ${from} to ${to}`
      if (to <= stated.prunedThrough && utcDay(at) < stated.keptSince)
        this.#gaps.push({ what, batches, entries })
      else
        this.problem(
          'batches_missing',
          String(from),
          `The ${batches} batches of ${what} are gone, and no sealed statement of retention covers them.`,
        )
    }
    for (const [day, { batches, entries }] of this.#missing) {
      if (day < stated.keptSince) this.#gaps.push({ what: day, batches, entries })
      else
        this.problem(
          'entries_missing',
          day,
          `All ${entries} entries of ${batches} batches of ${day} are gone, and no sealed statement of retention covers them.`,
        )
    }
  }

  done(): VerifyReport {
    return {
      ok: this.#problemCount === 0,
      checked: this.#checked,
      checkpoints: this.#checkpoints,
      unsealed: this.#unsealed,
      unconfirmed: this.#unconfirmed,
      gaps: this.#gaps,
      problems: this.#problems,
      problemCount: this.#problemCount,
    }
  }
}
