import type { DrillReport } from '../report.ts'
import type { History } from '../scenarios/history.ts'
import type { IncidentTold } from '../simulation/readings.ts'
import { html, type Html } from './html.ts'
import { timeline } from './timeline.ts'
import { commandWords, countWords, momentWords } from './words.ts'

/** Lines of a log on the page; what is beyond is counted. */
const LOG_LINES = 400

/** One drill: what was done, what came of it, and the witness's log. */
export function drillSection(report: DrillReport, seed: string, startMs: number): Html {
  const { drill, history, verdict, broken, poisoned } = report
  const leftOut = leftOutOf(verdict)
  return html`<section id="${drill.id}">
    <h3>${drill.title} ${mark(broken.length === 0)}</h3>
    <p>${drill.injected}</p>
    ${poisoned.length === 0 ? html`` : html`<p class="soft">Taken out: ${poisoned.join('; ')}.</p>`}
    ${
      broken.length === 0
        ? html``
        : html`<ul>
            ${broken.map((reason) => html`<li><span class="mark no">NO</span> ${reason}</li>`)}
          </ul>`
    }
    <div class="figures">
      ${figure('effects expected', verdict.expected)}${figure('there exactly once', verdict.once)}
      ${figure('lost', verdict.lost.length)}${figure('twice', verdict.twice.length)}
      ${figure('kept for a person', keptOf(verdict))}${leftOut === 0 ? html`` : figure('too late, left out', leftOut)}
      ${figure('requests', history.requests.length)}${figure('disturbed', disturbedOf(history))}
      ${figure('nodes that died', history.died)}
    </div>
    ${timeline(report)}
    ${verdict.repeatedHarmlessly === 0 ? html`` : html`<p class="soft">${countWords(verdict.repeatedHarmlessly, 'effect')} of operations that only set a value happened again, which changes nothing.</p>`}
    ${accountedTable(report)} ${alerts(history.incidents, startMs)}
    <details>
      <summary>What is on record in the ledger</summary>
      <p>${countsWords(history.ledger)}.</p>
      <p class="soft">
        Deliveries: ${countsWords(history.deliveries)}. Events: ${countsWords(history.events)}. Attempts in
        doubt: ${history.inDoubt}.
      </p>
    </details>
    <details id="${`log-${drill.id}`}">
      <summary>The witness’s log: what the twins saw, ${countWords(logLength(history), 'line')}</summary>
      <pre>${logLines(history).join('\n')}</pre>
    </details>
    <p class="soft">Seed ${seed}. To play it again: <code>${commandWords(seed, drill.id)}</code></p>
  </section>`
}

/** YES or NO, also without colours. */
export function mark(ok: boolean): Html {
  return ok ? html`<span class="mark yes">YES</span>` : html`<span class="mark no">NO</span>`
}

/** How many effects wait for a person with their reason. */
export function keptOf({ accounted }: Pick<DrillReport['verdict'], 'accounted'>): number {
  return accounted.length - leftOutOf({ accounted })
}

/** How many effects the flow itself says to leave out once it is too late (`validUntil`). */
export function leftOutOf({ accounted }: Pick<DrillReport['verdict'], 'accounted'>): number {
  return accounted.filter(({ how }) => how === 'skipped').length
}

function figure(name: string, value: number): Html {
  return html`<div><b>${value}</b>${name}</div>`
}

function disturbedOf({ requests }: History): number {
  return requests.filter(({ fault }) => fault !== undefined).length
}

function countsWords(counts: readonly { readonly name: string; readonly times: number }[]): string {
  return counts.length === 0 ? 'nothing' : counts.map(({ name, times }) => `${name} ${times}`).join(' · ')
}

function accountedTable({ verdict }: DrillReport): Html {
  if (verdict.accounted.length === 0) return html``
  return html`<div class="wide">
    <table>
      <thead>
        <tr>
          <th>not there</th>
          <th>of</th>
          <th>because</th>
        </tr>
      </thead>
      <tbody>
        ${verdict.accounted.map(
          ({ what, run, how, reason }) =>
            html`<tr>
              <td>${what}</td>
              <td>${run}</td>
              <td>${how.replaceAll('_', ' ')}: ${reason}</td>
            </tr>`,
        )}
      </tbody>
    </table>
  </div>`
}

/** What a person would have been told. */
function alerts(incidents: readonly IncidentTold[], startMs: number): Html {
  if (incidents.length === 0) return html`<p>No incident was opened: nothing needed a person.</p>`
  return html`<h4>What is alerted</h4>
    <ul>
      ${incidents.map(
        ({ title, what, todo, openedAt, resolvedAt }) =>
          html`<li>
            <strong>${title}</strong> ${what} ${todo}
            <span class="soft"
              >Opened
              ${momentWords(openedAt - startMs)}${resolvedAt === null ? ', still open at the end' : `, over ${momentWords(resolvedAt - startMs)}`}.</span
            >
          </li>`,
      )}
    </ul>`
}

function logLength({ requests, effects }: History): number {
  return requests.length + effects.length
}

function logLines({ requests, effects }: History): string[] {
  const lines = [
    ...requests.map((one) => ({
      atMs: one.atMs,
      order: 0,
      line: `${one.connection.padEnd(12)} asked  ${one.method} ${one.path} → ${one.status ?? 'no answer'}${one.fault === undefined ? '' : ` (${one.fault.replaceAll('_', ' ')})`}`,
    })),
    ...effects.map((one) => ({
      atMs: one.atMs,
      order: 1,
      line: `${one.connection.padEnd(12)} DID    ${one.kind}: ${one.summary}${one.run === undefined ? '' : ` [${one.run}]`}`,
    })),
  ].sort((a, b) => a.atMs - b.atMs || a.order - b.order)
  const shown = lines.slice(0, LOG_LINES).map(({ atMs, line }) => `${momentWords(atMs)}  ${line}`)
  return lines.length > LOG_LINES
    ? [...shown, `… and ${lines.length - LOG_LINES} more lines (--json has all of them)`]
    : shown
}
