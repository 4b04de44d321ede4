import { UsageError, type EventId, type RunId } from '../base/index.ts'
import { RUN_ENDED, type RunState } from '../define/index.ts'
import { eventOf, insertRuns, newRun, type NewRun } from '../inbox/index.ts'
import { effectsOf, type RepeatedEffect } from './effects.ts'
import { lockEvent, type LockedEvent } from './lockEvent.ts'
import { lockRun, record } from './lockRun.ts'
import type { ActionContext } from './operator.ts'

export interface Replayed {
  readonly runs: readonly RunId[]
  /** Effects of the earlier runs that the new ones repeat, or may repeat where an outcome is not known. */
  readonly effects: readonly RepeatedEffect[]
}

interface EarlierRun {
  readonly id: RunId
  readonly flow: string
  readonly state: RunState
}

/** A new run for the event of an earlier one, by today's code, with keys of its own. */
export async function replayRun(
  id: RunId,
  repeatEffects: boolean,
  context: ActionContext,
): Promise<Replayed> {
  const { event_id: event, flow } = await lockRun(id, context)
  const stored = await lockEvent(event, context)
  return replay(stored, [{ flow, replayOf: id }], repeatEffects, context)
}

/** New runs for an event, of every flow that starts on it today, or of one. */
export async function replayEvent(
  id: EventId,
  options: { readonly repeatEffects: boolean; readonly flow?: string },
  context: ActionContext,
): Promise<Replayed> {
  const stored = await lockEvent(id, context)
  const flows = context.flows
    .startingOn(stored.connector, stored.type, stored.connection_name)
    .filter((flow) => options.flow === undefined || flow.name === options.flow)
  if (flows.length === 0)
    throw new UsageError(
      'no_flow',
      `No flow${options.flow === undefined ? '' : ` named "${options.flow}"`} starts on ${stored.connector} "${stored.type}". Add one to the configuration, then replay the event.`,
    )
  return replay(
    stored,
    flows.map((flow) => ({ flow: flow.name })),
    options.repeatEffects,
    context,
  )
}

async function replay(
  stored: LockedEvent,
  wanted: readonly { readonly flow: string; readonly replayOf?: RunId }[],
  repeatEffects: boolean,
  context: ActionContext,
): Promise<Replayed> {
  if (stored.state === 'quarantined')
    throw new UsageError(
      'state_conflict',
      `Event ${stored.event_id} is quarantined, so it cannot be replayed. Release it instead.`,
    )
  const earlier = await earlierRuns(
    stored.event_id,
    wanted.map(({ flow }) => flow),
    context,
  )
  const effects = await effectsOf(
    earlier.map(({ id }) => id),
    context,
  )
  if (effects.length > 0 && !repeatEffects) refuseEffects(effects)
  refuseWhileOpen(earlier)
  const runs = newRuns(stored, wanted, earlier, context)
  await insertRuns(context.client, runs)
  await context.client.query(
    `update events set state = 'dispatched' where tenant = $1 and id = $2 and state = 'unmatched'`,
    [context.tenant, stored.event_id],
  )
  await context.wake(context.client, runs)
  for (const run of runs)
    await record(context, 'run.replayed', run, 'queued', {
      event: stored.event_id,
      flow: run.flow,
      connection: stored.connection_id,
      ...(run.replayOf === undefined ? {} : { of: run.replayOf }),
      effects: effects.length,
    })
  return { runs: runs.map((run) => run.id), effects }
}

/** Every run that the event has had of these flows, the newest first. */
async function earlierRuns(
  event: EventId,
  flows: readonly string[],
  { client, tenant }: ActionContext,
): Promise<readonly EarlierRun[]> {
  const { rows } = await client.query<EarlierRun>(
    'select id, flow, state from runs where tenant = $1 and event_id = $2 and flow = any($3) order by id desc',
    [tenant, event, flows],
  )
  return rows
}

function refuseEffects(effects: readonly RepeatedEffect[]): never {
  throw new UsageError(
    'effects_repeated',
    `A replay would repeat ${effects.length} effect${effects.length === 1 ? '' : 's'}: ${effects.map((effect) => effect.summary).join('; ')}. Consent with --repeat-effects ("repeatEffects": true in the API), or retry the run instead, which repeats nothing.`,
  )
}

/** What an open run will still do cannot be consented to, and both would do it. */
function refuseWhileOpen(earlier: readonly EarlierRun[]): void {
  const open = earlier.find((run) => !RUN_ENDED.has(run.state))
  if (open)
    throw new UsageError(
      'state_conflict',
      `Run ${open.id} of flow "${open.flow}" for this event is ${open.state}, so the event cannot be replayed. Let it end, settle it, or cancel it first.`,
    )
}

function newRuns(
  stored: LockedEvent,
  wanted: readonly { readonly flow: string; readonly replayOf?: RunId }[],
  earlier: readonly EarlierRun[],
  context: ActionContext,
): readonly NewRun[] {
  const connector = context.connectorNamed(stored.connector)
  if (!connector)
    throw new UsageError(
      'connector_missing',
      `The connector "${stored.connector}" is not in the configuration. Add a connection of it, then replay.`,
    )
  const event = eventOf(stored, connector)
  return wanted.map(({ flow: name, replayOf }) => {
    const flow = context.flows.byName(name)
    if (!flow)
      throw new UsageError(
        'flow_missing',
        `The flow "${name}" is not in the configuration. Add it, then replay.`,
      )
    const newest = earlier.find((run) => run.flow === name)?.id
    return { ...newRun(flow, event, context.tenant), replayOf: replayOf ?? newest }
  })
}
