import { durationWords } from '../../base/index.ts'
import type { Queryable } from '../../db/index.ts'

/** What the provider said last to the step that a run ended or stands with. */
export interface LastAnswer {
  readonly run_id: string
  readonly name: string
  readonly ordinal: number
  /** `null`: no answer came. */
  readonly status: number | null
  readonly code: string | null
  readonly reason: string | null
  /** The beginning of the answer, redacted. */
  readonly excerpt: string | null
  readonly at: Date
  /** Attempts of the step, and when the first of them was begun. */
  readonly attempts: number
  readonly first_at: Date
}

/** The last failed attempt of the step that ended each of these runs; else of any step. */
export async function readLastAnswers(
  client: Queryable,
  tenant: string,
  runs: readonly string[],
): Promise<ReadonlyMap<string, LastAnswer>> {
  if (runs.length === 0) return new Map()
  const { rows } = await client.query<LastAnswer>(
    `select distinct on (a.run_id) a.run_id, a.name, a.ordinal, a.status, a.code, a.reason, a.excerpt,
       coalesce(a.finished_at, a.begun_at) as at, step.attempts, step.first_at
     from runs r join attempts a on a.tenant = r.tenant and a.run_id = r.id
     cross join lateral (select count(*)::int as attempts, min(b.begun_at) as first_at from attempts b
       where b.tenant = a.tenant and b.run_id = a.run_id and b.name = a.name and b.ordinal = a.ordinal) step
     where r.tenant = $1 and r.id = any($2) and a.state is distinct from 'succeeded'
       and (r.failed_step is null or a.name || '#' || a.ordinal = r.failed_step)
     order by a.run_id, a.begun_at desc, a.number desc`,
    [tenant, [...runs]],
  )
  return new Map(rows.map((row) => [row.run_id, row]))
}

/** `The last answer to hubspot.notes.create was 503 at 2026-11-22 12:00:41 UTC, to attempt 12 in 3 days: "…".` */
export function lastAnswerWords(answer: LastAnswer): string {
  const { name, status, code, at, attempts, first_at, excerpt } = answer
  const when = `${at.toISOString().slice(0, 19).replace('T', ' ')} UTC`
  const over = attempts === 1 ? '' : ` in ${durationWords(at.getTime() - first_at.getTime())}`
  const said = status === null ? `No answer came to ${name}` : `The last answer to ${name} was ${status}`
  const why = status === null && code !== null ? ` (${code.replaceAll('_', ' ')})` : ''
  const quoted = excerpt === null ? '.' : `: "${oneLine(excerpt)}"`
  return `${said}${why} at ${when}, to attempt ${attempts}${over}${quoted}`
}

function oneLine(text: string): string {
  return text.replaceAll(/\s+/g, ' ')
}
