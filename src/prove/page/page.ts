import type { DrillReport, ProofReport } from '../report.ts'
import { START_MS } from '../scenarios/play.ts'
import { drillSection, keptOf, leftOutOf, mark } from './drillSection.ts'
import { Html, html } from './html.ts'
import { sentencesFor, type Sentence } from './sentences.ts'
import { STYLE } from './style.ts'
import { commandWords, countWords, momentWords } from './words.ts'

/** The whole page: one file, nothing from elsewhere, no script. The same report gives the same bytes. */
export function writePage(report: ProofReport): string {
  const { ok, seed, version } = report
  const title = ok
    ? 'What happens when things go wrong: proven'
    : 'What happens when things go wrong: NOT proven'
  return `<!doctype html>\n${
    html`<html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'" />
        <title>${title}</title>
        <style>
          ${new Html(STYLE)}
        </style>
      </head>
      <body>
        <main>
          <h1>What happens when things go wrong</h1>
          <p class="soft">
            Trestle ${version} · seed ${seed} · ${countWords(report.flows.length, 'flow')} ·
            ${countWords(report.integrations.length, 'integration')} ·
            ${countWords(report.drills.length, 'drill')}
          </p>
          ${verdictSection(report)} ${glanceSection(report)} ${exercisedSection(report)}
          ${notShownSection(report)}
          <h2>Each integration</h2>
          ${report.integrations.map((integration) => integrationSection(integration, report))}
          <h2>The drills</h2>
          ${report.drills.map((drill) => drillSection(drill, seed, START_MS))} ${methodSection(report)}
        </main>
      </body>
    </html>`.markup
  }\n`
}

function verdictSection({ ok, broken, drills, undisturbed }: ProofReport): Html {
  const effects = undisturbed.effects.filter(({ run }) => run !== undefined).length
  const leftOut = drills.some(({ verdict }) => leftOutOf(verdict) > 0)
  if (ok)
    return html`<div class="verdict yes">
      <strong>YES: every promise held.</strong> In ${countWords(drills.length, 'drill')} everything that was
      to happen at the providers happened exactly once, or is kept for a person with the
      reason${leftOut ? ', or was left out because the flow says that it would be too late' : ''}.
      Undisturbed, the same events have ${countWords(effects, 'effect')}.
    </div>`
  return html`<div class="verdict no">
    <strong>NO: ${countWords(broken.length, 'promise')} did not hold.</strong>
    <ul>
      ${broken.map((reason) => html`<li>${reason}</li>`)}
    </ul>
  </div>`
}

/** All drills in one table. */
function glanceSection({ drills }: ProofReport): Html {
  return html`<h2>At a glance</h2>
    <div class="wide">
      <table>
        <thead>
          <tr>
            <th>what went wrong</th>
            <th class="n">effects</th>
            <th class="n">exactly once</th>
            <th class="n">lost</th>
            <th class="n">twice</th>
            <th class="n">kept for a person</th>
            <th class="n">too late, left out</th>
            <th>promise held</th>
          </tr>
        </thead>
        <tbody>
          ${drills.map(
            ({ drill, verdict, broken }) =>
              html`<tr>
                <td><a href="${`#${drill.id}`}">${drill.title}</a></td>
                <td class="n">${verdict.expected}</td>
                <td class="n">${verdict.once}</td>
                <td class="n">${verdict.lost.length}</td>
                <td class="n">${verdict.twice.length}</td>
                <td class="n">${keptOf(verdict)}</td>
                <td class="n">${leftOutOf(verdict)}</td>
                <td>${mark(broken.length === 0)}</td>
              </tr>`,
          )}
        </tbody>
      </table>
    </div>`
}

function exercisedSection({ flows }: ProofReport): Html {
  return html`<h2>What was exercised</h2>
    <div class="wide">
      <table>
        <thead>
          <tr>
            <th>flow</th>
            <th>starts on</th>
            <th class="n">runs</th>
            <th>does something at</th>
          </tr>
        </thead>
        <tbody>
          ${flows.map(
            ({ name, summary, trigger, runs, actsAt }) =>
              html`<tr>
                <td><strong>${name}</strong><br /><span class="soft">${summary}</span></td>
                <td>${trigger}</td>
                <td class="n">${runs}</td>
                <td>${actsAt.length === 0 ? '–' : actsAt.join(', ')}</td>
              </tr>`,
          )}
        </tbody>
      </table>
    </div>`
}

function notShownSection({ unexercised, notShown }: ProofReport): Html {
  const all = [
    ...unexercised.map(
      ({ flow, trigger, why }) => `The flow "${flow}" (${trigger}) was not exercised. ${why}`,
    ),
    ...notShown,
  ]
  return html`<h2>What was not shown</h2>
    ${
      all.length === 0
        ? html`<p>Every flow was exercised.</p>`
        : html`<ul>
            ${all.map((one) => html`<li>${one}</li>`)}
          </ul>`
    }`
}

/** How its failures are handled, what happens when it is away for long, what is logged, what is alerted. */
function integrationSection(integration: ProofReport['integrations'][number], report: ProofReport): Html {
  const { connection, title, calls, effects } = integration
  const sentences = sentencesFor(integration, report.drills)
  const away = sentences.filter(({ drill }) => drill.drill.kind === 'outage')
  const failures = sentences.filter(({ drill }) => drill.drill.kind !== 'outage')
  return html`<section id="${`integration-${connection}`}">
    <h3>
      ${title}
      <span class="soft"
        >(${connection}: ${countWords(calls, 'request')} and ${countWords(effects, 'effect')}
        undisturbed)</span
      >
    </h3>
    <h4>How its failures are handled</h4>
    ${failures.length === 0 ? html`<p>None of the drills disturbed what the flows do here.</p>` : sentenceList(failures, report.seed)}
    ${
      away.length === 0
        ? html``
        : html`<h4>When it is away for long</h4>
            ${sentenceList(away, report.seed)}${away.map(({ drill }) => recordOf(drill))}`
    }
  </section>`
}

/** Each sentence with what showed it: the drill, its seed, its figures and its witness's log. */
function sentenceList(sentences: readonly Sentence[], seed: string): Html {
  return html`<ul>
    ${sentences.map(
      ({ text, drill: { drill, verdict, broken } }) =>
        html`<li>
          ${mark(broken.length === 0)} ${text}
          <span class="soft"
            >Drill <a href="${`#${drill.id}`}">${drill.id}</a>, seed ${seed}: ${verdict.once} of
            ${verdict.expected} effects exactly once, ${verdict.lost.length} lost, ${verdict.twice.length}
            twice, ${keptOf(verdict)} kept, ${leftOutOf(verdict)} left out;
            <a href="${`#log-${drill.id}`}">witness’s log</a>.</span
          >
        </li>`,
    )}
  </ul>`
}

/** What is on record of its outage, and who was told. */
function recordOf({ history }: DrillReport): Html {
  return html`<p>
      <strong>Logged:</strong>
      ${history.ledger.map(({ name, times }) => `${name} (${times})`).join(', ')}. Each entry names who did
      what to what, when, and how it ended.
    </p>
    <p>
      <strong>Alerted:</strong>
      ${history.incidents.length === 0 ? 'nobody was told.' : ''}
      ${history.incidents.map(
        ({ title, openedAt, resolvedAt }) =>
          html`${title}
            <span class="soft"
              >(${momentWords(openedAt - START_MS)}${resolvedAt === null ? ', open at the end' : `, over ${momentWords(resolvedAt - START_MS)}`})</span
            > `,
      )}
    </p>`
}

function methodSection({ seed, version }: ProofReport): Html {
  return html`<h2>How this was shown</h2>
    <ul>
      <li>
        The flows ran on Trestle ${version} as it is in production: intake with signatures, PostgreSQL,
        engine, calls over HTTP. Every connection was pointed at a twin, a local stand-in that speaks the
        provider’s real API. Nothing reached a provider, and no credential of yours was used.
      </li>
      <li>
        The witness is the twin: it notes what it does at the moment when it acts. Every drill is compared
        with an undisturbed run of the same events.
      </li>
      <li>
        Time was simulated, for nodes, twins and database alike: three days pass in seconds. Waits are longer
        by up to a second than they would be, since the clock moves in steps; where nothing happens for long
        it leaps by half an hour, so that a provider which is away is asked less often than it would be. How
        fast the platform is cannot be read from this page.
      </li>
      <li>
        A node dies here by being stopped between two instructions, within one process. That data survives a
        killed process and a power cut is tested elsewhere (npm run test:crash).
      </li>
      <li>
        The same version, flows and seed make this page again, byte for byte, on any machine:
        <code>${commandWords(seed)}</code>
      </li>
    </ul>`
}
