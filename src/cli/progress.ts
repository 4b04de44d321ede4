import { SECOND, type Clock } from '../base/index.ts'

/** Says how far something long has come. */
export interface Progress {
  /** `done` of `total`; without a total only the count is shown. */
  to(done: number, total?: number): void
  /** Takes the bar away. May be called twice. */
  end(): void
}

/** The part of a terminal that a bar is drawn on: stderr, so that what a command gives stays clean. */
export interface Drawing {
  readonly isTTY?: boolean
  readonly columns?: number
  write(text: string): unknown
}

const WIDTH = 24
const REDRAW_MS = SECOND / 10
const CLEAR = '\r\u001b[K'

/**
 * A bar on one line of a terminal; nothing at all where there is none. It is drawn at most ten times a second, and
 * not before half a second has passed, so that what is quick does not flicker.
 */
export function startProgress(title: string, terminal: Drawing, clock: Clock): Progress {
  if (terminal.isTTY !== true) return { to: () => {}, end: () => {} }
  let drawnAt = clock.monotonic() + 0.5 * SECOND
  let drawn = false
  return {
    to(done, total) {
      const now = clock.monotonic()
      if (now - drawnAt < REDRAW_MS) return
      drawnAt = now
      drawn = true
      terminal.write(CLEAR + progressLine(title, { done, total }).slice(0, (terminal.columns ?? 80) - 1))
    },
    end() {
      if (drawn) terminal.write(CLEAR)
      drawn = false
    },
  }
}

/** `Checking the ledger ██████░░░░░░░░░░░░░░░░░░ 25 % 1,000 of 4,000`. */
export function progressLine(
  title: string,
  at: { readonly done: number; readonly total?: number | undefined },
): string {
  const count = at.done.toLocaleString('en-US')
  if (at.total === undefined || at.total <= 0) return `${title} ${count}`
  const part = Math.min(1, at.done / at.total)
  const full = Math.round(part * WIDTH)
  const bar = '█'.repeat(full) + '░'.repeat(WIDTH - full)
  return `${title} ${bar} ${Math.floor(part * 100)} % ${count} of ${at.total.toLocaleString('en-US')}`
}
