import { raw } from 'hono/html'
import { durationWords } from '../../../base/index.ts'
import type { AttemptRow } from '../../reading/runs.ts'
import type { TimelineStep } from '../../reading/timeline.ts'
import type { RunView } from '../runView.ts'
import { clockTime, foreign, html, NOTHING, pill, toneOf, type Html } from './html.ts'
import { markOf, stepText } from './steps.ts'

/** One run as a timeline: its steps, their attempts and the waits between, as bars over the run's whole time. */
export function runView(view: RunView): Html {
  const { row, event, words, steps, omitted, now } = view
  const scale = scaleOf(view)
  return html`<article class="timeline ${toneOf(row.state)}" id="run">
    <header>
      <h1>${row.flow} ${pill(row.state)}</h1>
      <p class="lead">${foreign(words)}</p>
      <dl class="facts-list">
        ${fact('Event', html`${foreign(event?.summary ?? event?.type ?? row.event_id)}`)}
        ${fact('Began', clockTime(row.created_at))}
        ${
          row.finished_at === null
            ? NOTHING
            : fact('Took', html`${durationBetween(row.created_at, row.finished_at)}`)
        }
        ${row.lane_key === null ? NOTHING : fact('Lane', foreign(row.lane_key))}
        ${
          row.replay_of === null
            ? NOTHING
            : fact('Replay of', html`<a href="/runs/${row.replay_of}">${row.replay_of}</a>`)
        }
        ${fact('Run', html`<code>${row.id}</code>`)}
      </dl>
    </header>
    ${omitted ? html`<p class="quiet">Only its newest steps are shown.</p>` : NOTHING}
    ${
      steps.length === 0
        ? html`<p class="quiet">No step has begun yet.</p>`
        : html`<ol class="bars">
            ${steps.map((step) => stepView(step, scale, now))}
          </ol>`
    }
  </article>`
}

function fact(name: string, value: Html): Html {
  return html`<div>
    <dt>${name}</dt>
    <dd>${value}</dd>
  </div>`
}

function stepView(step: TimelineStep, scale: Scale, now: number): Html {
  const { mark, words, tone } = markOf(step)
  const took = durationWords(Math.max(0, (step.finishedAt ?? now) - step.begunAt))
  return html`<li class="${tone}">
    <div class="line">
      <span class="mark" title="${words}" aria-label="${words}">${mark}</span>
      <span class="what">${stepText(step, now)}</span>
      <span class="took">${step.finishedAt === undefined ? `${took} so far` : took}</span>
    </div>
    ${bar(step, scale, now)}
    <p class="facts">
      ${foreign(step.step?.operation ?? step.name)}${step.ordinal > 1 ? ` #${step.ordinal}` : ''} ·
      ${clockTime(step.begunAt)}
    </p>
    ${step.step?.error ? html`<p class="why">${foreign(step.step.error)}</p>` : NOTHING}
    ${step.attempts.length < 2 && step.attempts[0]?.state === 'succeeded' ? NOTHING : attemptsView(step)}
  </li>`
}

const ATTEMPTS_SHOWN = 30

function attemptsView({ attempts }: TimelineStep): Html {
  if (attempts.length === 0) return NOTHING
  const shown = attempts.slice(-ATTEMPTS_SHOWN)
  return html`<ol class="attempts">
    ${shown.map((attempt, i) => attemptView(attempt, shown[i + 1]))}
  </ol>`
}

const ATTEMPT_WORDS = {
  succeeded: 'succeeded',
  failed: 'failed',
  in_doubt: 'ended without an answer',
  quarantined: 'had an answer that was quarantined',
} as const

function attemptView(attempt: AttemptRow, next: AttemptRow | undefined): Html {
  const { number, state, status, reason, begun_at, finished_at } = attempt
  const words = state === null ? 'is under way' : ATTEMPT_WORDS[state]
  const took = finished_at === null ? '' : ` after ${durationBetween(begun_at, finished_at)}`
  const answer = status === null ? '' : `, HTTP ${status}`
  const why = reason === null ? NOTHING : html`: ${foreign(reason)}`
  const waited =
    next && finished_at
      ? html`<span class="wait">Then it waited ${durationBetween(finished_at, next.begun_at)}.</span>`
      : NOTHING
  return html`<li>Attempt ${number} ${words}${took}${answer}${why} ${waited}</li>`
}

function durationBetween(from: Date, until: Date): string {
  return durationWords(Math.max(0, until.getTime() - from.getTime()))
}

/** How times become places on a bar of {@link WIDTH}. */
interface Scale {
  readonly from: number
  readonly span: number
}

const WIDTH = 1000
/** Narrower would not be seen. */
const LEAST = 4

function scaleOf({ row, steps, now }: RunView): Scale {
  const from = row.created_at.getTime()
  const ends = steps.map((step) => step.finishedAt ?? now)
  const until = Math.max(row.finished_at?.getTime() ?? 0, from + 1, ...ends)
  return { from, span: until - from }
}

/** A thin line from the step's begin to its end, and on it a block for each attempt: what is thin was waiting. */
function bar(step: TimelineStep, scale: Scale, now: number): Html {
  const whole = placed(step.begunAt, step.finishedAt ?? now, scale)
  const blocks = step.attempts.map((attempt) => {
    const { x, width } = placed(attempt.begun_at.getTime(), attempt.finished_at?.getTime() ?? now, scale)
    return `<rect class="${attempt.state ?? 'open'}" x="${x}" y="0" width="${width}" height="10"/>`
  })
  // Numbers and closed words only: nothing in it needs escaping.
  return raw(
    `<svg class="bar" viewBox="0 0 ${WIDTH} 10" preserveAspectRatio="none" aria-hidden="true"><rect class="track" x="0" y="4" width="${WIDTH}" height="2"/><rect class="whole" x="${whole.x}" y="3" width="${whole.width}" height="4"/>${blocks.join('')}</svg>`,
  )
}

function placed(from: number, until: number, scale: Scale): { readonly x: number; readonly width: number } {
  const at = (time: number): number =>
    Math.min(WIDTH, Math.max(0, ((time - scale.from) / scale.span) * WIDTH))
  const width = Math.max(LEAST, at(until) - at(from))
  return { x: round(Math.min(at(from), WIDTH - width)), width: round(width) }
}

function round(place: number): number {
  return Math.round(place * 10) / 10
}
