import { html, raw } from 'hono/html'
import { durationWords } from '../../../base/index.ts'
import type { RunState } from '../../../define/index.ts'

/** A piece of HTML. Values put into it are escaped, unless they are pieces themselves. */
export type Html = ReturnType<typeof html>
export { html }

export async function textOf(piece: Html): Promise<string> {
  return String(await piece)
}

export const NOTHING: Html = raw('')

/**
 * Text of others: a provider's, a customer's. Isolated, so that a character that turns the direction of writing ends
 * with it; characters that control and show nothing are replaced.
 */
export function foreign(text: string): Html {
  return html`<bdi>${visible(text)}</bdi>`
}

const LONGEST_TEXT = 500

/** Controls but for tab and line feed, and the separators that end a line in scripts. */
const INVISIBLE = /[^\P{Cc}\t\n]|[\u2028\u2029]/gu

function visible(text: string): string {
  const clean = text.toWellFormed().replace(INVISIBLE, '\ufffd')
  return clean.length > LONGEST_TEXT ? `${clean.slice(0, LONGEST_TEXT).toWellFormed()}…` : clean
}

/** A time of day; the page's script writes it in the viewer's zone. */
export function clockTime(at: Date | number): Html {
  const text = new Date(at).toISOString()
  return html`<time datetime="${text}">${text.slice(11, 19)} UTC</time>`
}

/** How long it is until then; the page's script counts it down. */
export function countdown(until: number, now: number): Html {
  const text = until <= now ? 'now' : `in ${durationWords(until - now)}`
  return html`<time class="until" datetime="${new Date(until).toISOString()}">${text}</time>`
}

/** How the states are called on screens, and what kind of state they are. */
const RUN_STATES: Readonly<Record<RunState, { readonly words: string; readonly tone: Tone }>> = {
  queued: { words: 'queued', tone: 'going' },
  running: { words: 'running', tone: 'going' },
  waiting: { words: 'waiting', tone: 'waiting' },
  parked: { words: 'parked', tone: 'waiting' },
  held: { words: 'held for a person', tone: 'person' },
  undoing: { words: 'being undone', tone: 'waiting' },
  succeeded: { words: 'succeeded', tone: 'good' },
  undone: { words: 'undone', tone: 'over' },
  dead_lettered: { words: 'dead letter', tone: 'bad' },
  cancelled: { words: 'cancelled', tone: 'over' },
}

export type Tone = 'going' | 'waiting' | 'person' | 'good' | 'bad' | 'over'

export function pill(state: RunState): Html {
  const { words, tone } = RUN_STATES[state]
  return html`<span class="pill ${tone}">${words}</span>`
}

export function toneOf(state: RunState): Tone {
  return RUN_STATES[state].tone
}
