import { atPath, durationWords, LosslessNumber } from '../base/index.ts'
import type { Queryable } from '../db/index.ts'
import type { AnyFlow, FlowEvent } from '../define/index.ts'
import type { RunRef } from '../dispatch/index.ts'
import { fieldValue } from '../inbox/index.ts'
import type { ClaimedRun, RunMove } from './run.ts'

/** What an event is about, and how new it is by the provider's word. */
export interface Dated {
  readonly subject: string
  /** A decimal number as text: milliseconds since 1970, or a version that rises. */
  readonly dated: string
}

/** An event that the flow has applied. */
export interface AppliedEvent {
  readonly event_id: string
  readonly run_id: string
  readonly dated: string
}

/**
 * The event's subject and date, where its flow skips stale events. `undefined`: it is not told apart by age, because
 * the flow does not ask for it, or this event lacks what it is dated by.
 */
export function datedEvent(run: ClaimedRun, flow: AnyFlow, event: FlowEvent): Dated | undefined {
  if (flow.stale !== 'skip') return undefined
  const { datedBy, subject } = flow.on.definition
  // An event that its provider did not date has the time of its reception in `occurredAt`, which says nothing.
  const raw: unknown =
    datedBy === 'occurredAt' ? run.event.occurred_at?.getTime() : atPath(event, datedBy ?? '')
  const dated = decimalOf(raw)
  const about = subjectOf(run, event, subject)
  return dated === undefined || about === undefined ? undefined : { subject: about, dated }
}

function subjectOf(
  run: ClaimedRun,
  event: FlowEvent,
  paths: string | readonly string[] | undefined,
): string | undefined {
  if (paths === undefined) return run.laneKey
  const values = (typeof paths === 'string' ? [paths] : paths).map((path) => fieldValue(atPath(event, path)))
  if (values.some((value) => value === undefined)) return undefined
  return fieldValue(JSON.stringify([event.connection, ...values]))
}

/** A date or version as decimal text that PostgreSQL's `numeric` compares exactly. */
function decimalOf(value: unknown): string | undefined {
  if (typeof value === 'bigint' || value instanceof LosslessNumber) return value.toString()
  if (typeof value === 'number') return Number.isFinite(value) ? String(value) : undefined
  if (typeof value !== 'string') return undefined
  if (/^-?\d+(\.\d+)?$/.test(value)) return value
  const ms = Date.parse(value)
  if (Number.isNaN(ms)) return undefined
  // A Date keeps milliseconds; some providers tell finer.
  const finer = /\.\d{3}(\d+)/.exec(value)?.[1]
  return finer === undefined || ms < 0 ? String(ms) : `${ms}.${finer}`
}

/** A run that has done nothing yet, and that no person wants in spite of its age. */
export function mayBeSkipped(run: ClaimedRun): boolean {
  return (
    run.replayOf === undefined &&
    run.journal.length === 0 &&
    run.pending.length === 0 &&
    run.lastAttempts.length === 0
  )
}

/** The event about the same subject that the flow has applied and that is newer, if there is one. */
export async function findNewerApplied(
  client: Queryable,
  run: Pick<ClaimedRun, 'tenant' | 'flow'>,
  { subject, dated }: Dated,
): Promise<AppliedEvent | undefined> {
  const { rows } = await client.query<AppliedEvent>({
    name: 'find_newer_applied',
    text: `select event_id, run_id, dated::text as dated from applied_events
      where tenant = $1 and flow = $2 and subject = $3 and dated > $4::numeric`,
    values: [run.tenant, run.flow, subject, dated],
  })
  return rows[0]
}

/** The event is kept, and nothing is done for it. */
export function staleMove(run: ClaimedRun, { dated }: Dated, newer: AppliedEvent): RunMove {
  return {
    to: 'cancelled',
    dueAt: undefined,
    pending: [],
    undoTo: undefined,
    reasonCode: 'stale',
    reason: `The event is older than one about the same subject that was applied before: ${newer.event_id}, by ${newer.run_id}${olderBy(dated, newer.dated)}. Nothing was done for it. Replay it if you want it all the same.`,
    failedStep: undefined,
    result: undefined,
    parkedFor: undefined,
    holdsLane: false,
    keepsClaim: false,
    clearsWaits: false,
    event: { as: 'stale', flow: run.flow, eventId: run.event.event_id },
  }
}

/** The flow has applied the event: older ones about its subject are stale from now on. */
export function applying(run: ClaimedRun, dated: Dated | undefined, move: RunMove): RunMove {
  if (dated === undefined) return move
  return { ...move, event: { as: 'applied', flow: run.flow, eventId: run.event.event_id, ...dated } }
}

/** Said of times only: the difference of two versions is no duration. */
function olderBy(dated: string, newer: string): string {
  const [from, to] = [Number(dated), Number(newer)]
  return from > 1e11 ? `, ${durationWords(to - from)} newer` : ''
}

/** What an execution says about its event, kept in the transaction of the run's end. */
export type EventNote =
  | ({ readonly as: 'applied'; readonly flow: string; readonly eventId: string } & Dated)
  | { readonly as: 'stale'; readonly flow: string; readonly eventId: string }

/** Keeps which events a flow has applied, and which it has not for their age. */
export async function noteEvents(
  client: Queryable,
  moves: readonly { readonly run: RunRef; readonly move?: RunMove }[],
): Promise<void> {
  const notes = moves.flatMap(({ run, move }) => (move?.event ? [{ run, note: move.event }] : []))
  // Locked in one order by everybody.
  notes.sort((a, b) => (keyOf(a.note) < keyOf(b.note) ? -1 : 1))
  for (const { run, note } of notes)
    await (note.as === 'applied' ? noteApplied(client, run, note) : noteStale(client, run, note))
}

function keyOf(note: EventNote): string {
  return `${note.flow} ${note.as === 'applied' ? note.subject : ''}`
}

async function noteApplied(
  client: Queryable,
  run: RunRef,
  { flow, subject, dated, eventId }: Extract<EventNote, { as: 'applied' }>,
): Promise<void> {
  await client.query({
    name: 'note_applied',
    text: `insert into applied_events as a (tenant, flow, subject, dated, event_id, run_id) values ($1, $2, $3, $4::numeric, $5, $6)
      on conflict (tenant, flow, subject) do update set dated = excluded.dated, event_id = excluded.event_id,
        run_id = excluded.run_id, applied_at = now() where a.dated <= excluded.dated`,
    values: [run.tenant, flow, subject, dated, eventId, run.id],
  })
}

async function noteStale(
  client: Queryable,
  run: RunRef,
  { flow, eventId }: Extract<EventNote, { as: 'stale' }>,
): Promise<void> {
  await client.query({
    name: 'note_stale',
    text: `update events set reason = $3 where tenant = $1 and id = $2`,
    values: [
      run.tenant,
      eventId,
      `Stale for the flow "${flow}": a newer event about the same subject was applied before it came to its turn.`,
    ],
  })
}
