import { NotFoundError, UsageError, type EventId, type RunId } from '../base/index.ts'
import { eventOf, insertRuns, newRun, type NewRun, type StoredEvent } from '../inbox/index.ts'
import { lockRun, record } from './lockRun.ts'
import type { ActionContext } from './operator.ts'

/** An effect that the earlier run had and that a replay has again. */
export interface RepeatedEffect {
  readonly run: RunId
  readonly step: string
  readonly operation: string
  readonly summary: string
}

export interface Replayed {
  readonly runs: readonly RunId[]
  /** Effects of the earlier runs that the new ones repeat. */
  readonly effects: readonly RepeatedEffect[]
}

/** A new run for the event of an earlier one, by today's code, with keys of its own. */
export async function replayRun(
  id: RunId,
  repeatEffects: boolean,
  context: ActionContext,
): Promise<Replayed> {
  const run = await lockRun(id, context)
  return replay(run.event_id, [{ flow: run.flow, replayOf: id }], repeatEffects, context)
}

/** New runs for an event, of every flow that starts on it today, or of one. */
export async function replayEvent(
  id: EventId,
  options: { readonly repeatEffects: boolean; readonly flow?: string },
  context: ActionContext,
): Promise<Replayed> {
  const stored = await storedEvent(id, context)
  const flows = context.flows
    .startingOn(stored.connector, stored.type, stored.connection_name)
    .filter((flow) => options.flow === undefined || flow.name === options.flow)
  if (flows.length === 0)
    throw new UsageError(
      'no_flow',
      `No flow${options.flow === undefined ? '' : ` named "${options.flow}"`} starts on ${stored.connector} "${stored.type}". Add one to the configuration, then replay the event.`,
    )
  const { rows } = await context.client.query<{ id: RunId; flow: string }>(
    'select distinct on (flow) id, flow from runs where tenant = $1 and event_id = $2 order by flow, id desc',
    [context.tenant, id],
  )
  return replay(
    id,
    flows.map((flow) => ({ flow: flow.name, replayOf: rows.find((row) => row.flow === flow.name)?.id })),
    options.repeatEffects,
    context,
  )
}

async function replay(
  eventId: EventId,
  flows: readonly { flow: string; replayOf: RunId | undefined }[],
  repeatEffects: boolean,
  context: ActionContext,
): Promise<Replayed> {
  const effects = await effectsOf(
    flows.flatMap(({ replayOf }) => (replayOf === undefined ? [] : [replayOf])),
    context,
  )
  if (effects.length > 0 && !repeatEffects)
    throw new UsageError(
      'effects_repeated',
      `A replay would repeat ${effects.length} effect${effects.length === 1 ? '' : 's'}: ${effects.map((effect) => effect.summary).join('; ')}. Consent with --repeat-effects ("repeatEffects": true in the API), or retry the run instead, which repeats nothing.`,
    )
  const stored = await storedEvent(eventId, context)
  const connector = context.connectorNamed(stored.connector)
  if (!connector)
    throw new UsageError(
      'connector_missing',
      `The connector "${stored.connector}" is not in the configuration. Add a connection of it, then replay.`,
    )
  const event = eventOf(stored, connector)
  const runs = flows.map(({ flow: name, replayOf }): NewRun => {
    const flow = context.flows.byName(name)
    if (!flow)
      throw new UsageError(
        'flow_missing',
        `The flow "${name}" is not in the configuration. Add it, then replay.`,
      )
    return { ...newRun(flow, event, context.tenant), replayOf }
  })
  await insertRuns(context.client, runs)
  await context.client.query(
    `update events set state = 'dispatched' where tenant = $1 and id = $2 and state = 'unmatched'`,
    [context.tenant, eventId],
  )
  await context.wake(context.client, runs)
  for (const run of runs)
    await record(context, 'run.replayed', run, 'queued', {
      event: eventId,
      ...(run.replayOf === undefined ? {} : { of: run.replayOf }),
      effects: effects.length,
    })
  return { runs: runs.map((run) => run.id), effects }
}

/** Calls that earlier runs made and that were writes: reads repeat no effect. */
async function effectsOf(runs: readonly RunId[], context: ActionContext): Promise<RepeatedEffect[]> {
  if (runs.length === 0) return []
  const { rows } = await context.client.query<{
    run_id: RunId
    name: string
    operation: string
    summary: string | null
  }>(
    `select run_id, name, operation, summary from journal where tenant = $1 and run_id = any($2) and kind = 'operation' and outcome = 'succeeded' order by run_id, seq`,
    [context.tenant, runs],
  )
  return rows
    .filter((row) => !isRead(row.operation, context))
    .map((row) => ({
      run: row.run_id,
      step: row.name,
      operation: row.operation,
      summary: row.summary ?? row.operation,
    }))
}

function isRead(qualified: string, context: ActionContext): boolean {
  const [connector = '', ...rest] = qualified.split('.')
  return context.connectorNamed(connector)?.operationsByName.get(rest.join('.'))?.effect === 'read'
}

async function storedEvent(
  id: EventId,
  context: ActionContext,
): Promise<StoredEvent & { readonly connector: string }> {
  const { rows } = await context.client.query<StoredEvent & { connector: string }>(
    `select e.id as event_id, e.type, e.occurred_at, e.received_at, e.data_at, d.content_type, d.body, n.name as connection_name, n.connector
     from events e join deliveries d on d.tenant = e.tenant and d.id = e.delivery_id join connections n on n.tenant = e.tenant and n.id = e.connection_id
     where e.tenant = $1 and e.id = $2`,
    [context.tenant, id],
  )
  if (!rows[0]) throw new NotFoundError('event', id, 'List them with: trestle events')
  return rows[0]
}
