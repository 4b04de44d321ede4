import { durationWords } from '../../base/index.ts'
import type { AlertPayload } from '../incident.ts'

/** What an alert says to people. */
export interface AlertWords {
  readonly subject: string
  readonly text: string
  readonly html: string
}

/** The same subject for the opening, reminders and the end, so that mail programs keep both in one thread. */
export function alertWords(payload: AlertPayload): AlertWords {
  const lines = linesOf(payload)
  const subject = `[Trestle] ${payload.title}`
  return {
    subject: payload.change === 'opened' ? subject : `Re: ${subject}`,
    text: `${headline(payload)}\n\n${lines.map(([name, value]) => `${name}: ${value}`).join('\n')}\n`,
    html: page(headline(payload), lines),
  }
}

function headline({ change, what, resolution }: AlertPayload): string {
  return change === 'resolved' ? `Over: ${resolution ?? 'it is resolved.'}` : what
}

function linesOf(payload: AlertPayload): readonly (readonly [name: string, value: string])[] {
  const { change, what, since, at, holdsUp, todo, connection, flow, incident } = payload
  const lasted = durationWords(Math.max(0, Date.parse(at) - Date.parse(since)))
  const where = [
    ...(connection === null ? [] : [['Connection', connection] as const]),
    ...(flow === null ? [] : [['Flow', flow] as const]),
    ['Incident', `${incident}. Everything about it: trestle incidents show ${incident}`] as const,
  ]
  if (change === 'resolved')
    return [['It was', what], ['From', `${moment(since)} to ${moment(at)}, ${lasted}`], ...where]
  return [['Since', moment(since)], ['Holds up', holdsUp], ['What to do', todo], ...where]
}

function moment(iso: string): string {
  return `${iso.slice(0, 19).replace('T', ' ')} UTC`
}

function page(headline: string, lines: readonly (readonly [string, string])[]): string {
  const rows = lines.map(
    ([name, value]) =>
      `<tr><td style="padding:2px 16px 2px 0;color:#666;vertical-align:top">${escape(name)}</td><td style="padding:2px 0">${escape(value)}</td></tr>`,
  )
  return `<!doctype html><html lang="en"><body style="font:15px/1.5 sans-serif;color:#111"><p style="font-size:17px">${escape(headline)}</p><table style="border-collapse:collapse">${rows.join('')}</table></body></html>`
}

/** A provider's words may stand in it. */
function escape(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
}
