import type { DrillReport, IntegrationReport } from '../report.ts'
import type { History } from '../scenarios/history.ts'
import { countWords, durationWords } from './words.ts'

/** One thing that a drill showed about an integration. */
export interface Sentence {
  readonly text: string
  readonly drill: DrillReport
}

/** What the drills showed about one integration, in sentences. A drill that touched it in no way says nothing. */
export function sentencesFor(
  { connection, title }: IntegrationReport,
  drills: readonly DrillReport[],
): readonly Sentence[] {
  return drills.flatMap((drill) => {
    const text = sentenceFor(drill, connection, title)
    return text === undefined ? [] : [{ text, drill }]
  })
}

function sentenceFor(report: DrillReport, connection: string, title: string): string | undefined {
  const { drill, history } = report
  const disturbed = history.requests.filter((one) => one.connection === connection && one.fault !== undefined)
  switch (drill.kind) {
    case 'outage':
      return drill.connection === connection ? outageSentence(report, title) : undefined
    case 'rate_limit':
      return disturbed.length === 0
        ? undefined
        : `When ${title} answers 429, it is asked again after the time that it named: ${countWords(disturbed.length, 'refusal')}, ${endWords(report, connection)}`
    case 'reset':
      return disturbed.length === 0
        ? undefined
        : `When ${title} has acted and the connection is cut before its answer, nothing is sent again blindly: ${countWords(disturbed.length, 'answer')} lost, ${endWords(report, connection)}`
    case 'slow':
      return disturbed.length === 0
        ? undefined
        : `When ${title} answers late, or acts only after the caller has given up: ${countWords(disturbed.length, 'slow exchange')}, ${endWords(report, connection)}`
    case 'crash':
      return effectsAt(history, connection) === 0
        ? undefined
        : `When our own node dies right after ${title} has acted, another one finishes the work: ${endWords(report, connection)}`
    case 'poison_answer':
      return disturbed.length === 0
        ? undefined
        : `When an answer of ${title} breaks its contract, it is kept back and nothing is built on it: ${endWords(report, connection)}`
    case 'poison_event':
      return report.poisoned.some((one) => one.includes(` of ${connection} `))
        ? `When an event of ${title} breaks its contract, it is taken, kept back and shown, and no flow starts on it: ${countWords(history.quarantine.length, 'thing')} in quarantine over all integrations.`
        : undefined
    case 'duplicates':
    case 'disorder':
      return mailFrom(history, connection) === 0
        ? undefined
        : `${drill.kind === 'duplicates' ? `When ${title} delivers every webhook three times` : `When webhooks of ${title} arrive in the wrong order`}, everything still happens once: ${endWords(report, undefined)}`
    case 'undisturbed':
      return undefined
  }
}

function outageSentence({ drill, history, verdict }: DrillReport, title: string): string {
  const { fromMs, toMs } = drill.outage!
  const refused = history.requests.filter(
    (one) => one.connection === drill.connection && one.fault === 'down',
  ).length
  const most = Math.max(0, ...history.waiting.map(({ open }) => open))
  const last = lastEffectMs(history)
  const after =
    last > toMs ? ` The last of what had waited was done ${durationWords(last - toMs)} after its return.` : ''
  return `When ${title} is away for ${durationWords(toMs - fromMs)}, work for it waits in the database (${countWords(most, 'run')} at most) and the rest goes on. It was asked ${countWords(refused, 'time')} in vain; in the end ${outcomeWords(verdict, '')}${keptWords(verdict)}.${after}`
}

function lastEffectMs(history: History): number {
  return Math.max(0, ...history.effects.filter(({ run }) => run !== undefined).map(({ atMs }) => atMs))
}

/** How it ended, as the figures have it: never better than they are. */
function endWords({ verdict, history }: DrillReport, connection: string | undefined): string {
  const here =
    connection === undefined ? '' : ` here (${countWords(effectsAt(history, connection), 'effect')})`
  return `${outcomeWords(verdict, here)}${keptWords(verdict)}.`
}

function outcomeWords({ lost, twice, once, expected }: DrillReport['verdict'], here: string): string {
  if (lost.length + twice.length > 0)
    return `${lost.length} effects were lost, ${twice.length} happened twice`
  return once === expected
    ? `what was to happen${here} happened exactly once`
    : `${once} of ${expected} effects happened exactly once, none twice`
}

function keptWords({ accounted }: DrillReport['verdict']): string {
  const skipped = accounted.filter(({ how }) => how === 'skipped').length
  const kept = accounted.length - skipped
  return [
    kept === 0 ? '' : `, ${kept} kept for a person with the reason`,
    skipped === 0 ? '' : `, ${skipped} left out because the flow says that they would be too late`,
  ].join('')
}

function effectsAt(history: History, connection: string): number {
  return history.effects.filter((effect) => effect.connection === connection && effect.run !== undefined)
    .length
}

function mailFrom(history: History, connection: string): number {
  return history.mail.filter(({ happening }) => happening?.startsWith(`${connection} `)).length
}
