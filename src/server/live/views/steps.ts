import { durationWords } from '../../../base/index.ts'
import type { TimelineStep } from '../../reading/timeline.ts'
import { stepWords } from '../../reading/timeline.ts'
import { waitOf } from '../../reading/words.ts'
import { countdown, foreign, html, NOTHING, type Html, type Tone } from './html.ts'

const MARKS: Readonly<
  Record<TimelineStep['state'], { readonly mark: string; readonly words: string; readonly tone: Tone }>
> = {
  succeeded: { mark: '✓', words: 'done', tone: 'good' },
  failed: { mark: '✕', words: 'failed', tone: 'bad' },
  skipped: { mark: '–', words: 'skipped', tone: 'over' },
  waiting: { mark: '◷', words: 'waits', tone: 'waiting' },
  running: { mark: '→', words: 'under way', tone: 'going' },
}

/** A step in one line. */
export function stepLine(step: TimelineStep, now: number): Html {
  const { mark, words, tone } = markOf(step)
  return html`<li class="step ${tone}">
    <span class="mark" title="${words}" aria-label="${words}">${mark}</span>
    <span class="what">${stepText(step, now)}${failure(step)}</span>
    ${facts(step)}
  </li>`
}

export function markOf(step: TimelineStep): (typeof MARKS)[TimelineStep['state']] {
  const held =
    step.waits?.kind === 'operation' && (step.waits.phase === 'held' || step.waits.phase === 'late')
  return held ? { mark: '!', words: 'waits for a person', tone: 'person' } : MARKS[step.state]
}

/** What the step did, or what it waits for and until when. */
export function stepText(step: TimelineStep, now: number): Html {
  if (!step.waits) return foreign(stepWords(step))
  const { text, until } = waitOf(step.waits)
  return until === undefined ? foreign(text) : html`${foreign(text)} ${countdown(until, now)}`
}

function failure({ step }: TimelineStep): Html {
  return step?.error ? html`<span class="why">${foreign(step.error)}</span>` : NOTHING
}

/** Over which connection, after how many attempts, and how long it took. */
function facts(step: TimelineStep): Html {
  const where = step.kind === 'operation' || step.kind === 'undo' ? providerOf(step) : undefined
  const undone = step.kind === 'undo' ? 'undo' : undefined
  const tries = step.attempts.length > 1 ? `${step.attempts.length} attempts` : undefined
  const took =
    step.finishedAt === undefined || step.attempts.length === 0
      ? undefined
      : durationWords(Math.max(0, step.finishedAt - step.begunAt))
  const parts = [where, undone, tries, took].filter((part) => part !== undefined)
  return parts.length === 0 ? NOTHING : html`<span class="facts">${foreign(parts.join(' · '))}</span>`
}

function providerOf({ step, name }: TimelineStep): string | undefined {
  const operation = step?.operation ?? name.replace(/^undo:/, '')
  const dot = operation.indexOf('.')
  return dot === -1 ? undefined : operation.slice(0, dot)
}
