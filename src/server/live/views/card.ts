import { durationWords } from '../../../base/index.ts'
import type { Card, CardRun } from '../cards.ts'
import { clockTime, foreign, html, NOTHING, pill, toneOf, type Html } from './html.ts'
import { stepLine } from './steps.ts'

/** An event and what became of it. */
export function cardView({ event, runs, names }: Card, now: number): Html {
  return html`<article class="card" id="${event.id}">
    <header>
      <h2>${foreign(event.summary ?? event.type)}</h2>
      <p class="meta">
        ${foreign(names.get(event.connection_id) ?? 'unknown connection')} · ${foreign(event.type)} ·
        ${clockTime(event.received_at)}
      </p>
    </header>
    ${runs.length === 0 ? outcomeWithoutRuns(event) : NOTHING} ${runs.map((run) => runView(run, now))}
  </article>`
}

function outcomeWithoutRuns({ state, reason }: Card['event']): Html {
  switch (state) {
    case 'unmatched':
      return html`<p class="quiet">No flow starts on it. It is kept, and can be replayed.</p>`
    case 'quarantined':
      return html`<p class="notice person">
        Quarantined: ${foreign(reason ?? 'its shape cannot be trusted')}
      </p>`
    case 'discarded':
      return html`<p class="quiet">Discarded by a person.</p>`
    case 'dispatched':
      return NOTHING
  }
}

function runView({ row, steps, omitted }: CardRun, now: number): Html {
  return html`<section class="run ${toneOf(row.state)}">
    <h3>
      <a href="/runs/${row.id}">${row.flow}</a> ${pill(row.state)}
      <span class="facts">${row.replay_of === null ? '' : 'replay · '}${tookWords(row)}</span>
    </h3>
    ${omitted > 0 ? html`<p class="quiet">${omitted} earlier steps</p>` : NOTHING}
    ${
      steps.length > 0
        ? html`<ol class="steps">
            ${steps.map((step) => stepLine(step, now))}
          </ol>`
        : NOTHING
    }
    ${reasonView(row, steps)}
  </section>`
}

/** Why it is where it is, where its steps do not say it. */
function reasonView({ state, reason }: CardRun['row'], steps: CardRun['steps']): Html {
  const isSaid = steps.some(({ step }) => step?.error === reason)
  if (reason === null || isSaid || state === 'held' || state === 'parked') return NOTHING
  return html`<p class="why">${foreign(reason)}</p>`
}

function tookWords({ finished_at, created_at }: CardRun['row']): string {
  return finished_at === null ? '' : durationWords(Math.max(0, finished_at.getTime() - created_at.getTime()))
}
