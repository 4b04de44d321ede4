import type { Overview } from '../overview.ts'
import { foreign, html, NOTHING, pill, type Html } from './html.ts'

/** What the installation is doing now, and what it wants of people. */
export function summaryView({ events, going, people, runs, quarantined }: Overview): Html {
  return html`<dl class="figures">
      ${figure('Events in the last hour', events)} ${figure('Runs under way', going)}
      ${figure('Need a person', people)}
    </dl>
    ${runs.length === 0 && quarantined === 0 ? NOTHING : peopleView(runs, quarantined)}`
}

function figure(name: string, { count, more }: Overview['events']): Html {
  return html`<div>
    <dt>${name}</dt>
    <dd>${count.toLocaleString('en')}${more ? '+' : ''}</dd>
  </div>`
}

function peopleView(runs: Overview['runs'], quarantined: number): Html {
  return html`<section class="people" aria-label="Waiting for a person">
    <ul>
      ${runs.map(
        (run) =>
          html`<li>
            ${pill(run.state)} <a href="/runs/${run.id}">${run.flow}</a>
            <span class="why">${foreign(run.reason ?? '')}</span>
          </li>`,
      )}
      ${
        quarantined === 0
          ? NOTHING
          : html`<li>
              <span class="pill person">quarantine</span> ${quarantined} event${quarantined === 1 ? '' : 's'}
              or answer${quarantined === 1 ? '' : 's'} kept back
            </li>`
      }
    </ul>
  </section>`
}
