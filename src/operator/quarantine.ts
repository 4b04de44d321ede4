import { NotFoundError, reasonOf, UsageError, type EventId, type RunId } from '../base/index.ts'
import type { EventDefinition } from '../define/index.ts'
import type { Arrival } from '../flows/index.ts'
import {
  eventOf,
  fieldsOf,
  insertFields,
  insertRuns,
  newRun,
  summaryOf,
  type NewRun,
} from '../inbox/index.ts'
import { lockEvent } from './lockEvent.ts'
import { lockRun, queueRun, waitsOf } from './lockRun.ts'
import type { ActionContext } from './operator.ts'

/** What a release set going. */
export interface Released {
  readonly runs: readonly RunId[]
}

interface Quarantined {
  readonly id: string
  readonly kind: 'event' | 'answer'
  readonly state: string
  readonly connection_id: string
  readonly event_id: EventId | null
  readonly run_id: RunId | null
}

/**
 * An event is read again by today's contract and dispatched; it stays quarantined where that still refuses it. An
 * answer passes as it is: the person vouches for it, and its run goes on. `arrived`: what suspended runs may be
 * waiting for, to be told once this is committed.
 */
export async function releaseQuarantined(
  id: string,
  context: ActionContext,
): Promise<Released & { readonly arrived: readonly Arrival[] }> {
  const thing = await lockQuarantined(id, context)
  await settle(thing, 'released', context)
  if (thing.kind === 'event') {
    const { started, ...released } = await dispatchEvent(thing.event_id!, context)
    await recordSettled(thing, 'released', context, {
      runs: started.map((run) => run.id),
      flows: started.map((run) => run.flow),
    })
    return released
  }
  await recordSettled(thing, 'released', context)
  await goOn(thing, context)
  return { runs: [thing.run_id!], arrived: [] }
}

/** It never passes: the event is discarded; the step that waits for the answer fails. */
export async function discardQuarantined(id: string, context: ActionContext): Promise<void> {
  const thing = await lockQuarantined(id, context)
  await settle(thing, 'discarded', context)
  await recordSettled(thing, 'discarded', context)
  if (thing.kind === 'answer') return goOn(thing, context)
  await context.client.query(`update events set state = 'discarded' where tenant = $1 and id = $2`, [
    context.tenant,
    thing.event_id,
  ])
}

/**
 * The run goes on where it is held and waits for this answer. While it executes it looks for itself before it is
 * suspended, and a run that has ended, or that a person settled otherwise, is left as it is.
 */
async function goOn(thing: Quarantined, context: ActionContext): Promise<void> {
  const run = await lockRun(thing.run_id!, context)
  const waits = waitsOf(run).some((step) => step.kind === 'operation' && step.quarantineId === thing.id)
  if (run.state === 'held' && waits) await queueRun(context, run)
}

async function lockQuarantined(id: string, { client, tenant }: ActionContext): Promise<Quarantined> {
  const { rows } = await client.query<Quarantined>(
    'select id, kind, state, connection_id, event_id, run_id from quarantine where tenant = $1 and id = $2 for update',
    [tenant, id],
  )
  const thing = rows[0]
  if (!thing) throw new NotFoundError('quarantined thing', id, 'List them with: trestle quarantine')
  if (thing.state !== 'quarantined')
    throw new UsageError('state_conflict', `${id} was ${thing.state} already.`)
  return thing
}

async function settle(
  thing: Quarantined,
  state: 'released' | 'discarded',
  context: ActionContext,
): Promise<void> {
  await context.client.query(
    'update quarantine set state = $3, settled_at = now(), settled_by = $4 where tenant = $1 and id = $2',
    [context.tenant, thing.id, state, context.actor],
  )
}

/** `started`: what a release set going, named here too, since the ledger's count of runs must be complete. */
async function recordSettled(
  thing: Quarantined,
  state: 'released' | 'discarded',
  context: ActionContext,
  started: { readonly runs?: readonly string[]; readonly flows?: readonly string[] } = {},
): Promise<void> {
  await context.writeEntries(context.client, [
    {
      tenant: context.tenant,
      at: context.clock.now(),
      actor: context.actor,
      action: state === 'released' ? 'quarantine.released' : 'quarantine.discarded',
      target: thing.id,
      outcome: state,
      connectionId: thing.connection_id,
      ...(thing.run_id === null ? {} : { runId: thing.run_id }),
      detail: { kind: thing.kind, event: thing.event_id, ...started },
    },
  ])
}

async function dispatchEvent(
  id: EventId,
  context: ActionContext,
): Promise<Released & { readonly arrived: readonly Arrival[]; readonly started: readonly NewRun[] }> {
  const { client, tenant } = context
  const stored = await lockEvent(id, context)
  const connector = context.connectorNamed(stored.connector)
  if (!connector)
    throw new UsageError(
      'connector_missing',
      `The connector "${stored.connector}" is not in the configuration. Add a connection of it, then release.`,
    )
  if (stored.type === UNREADABLE && !(UNREADABLE in connector.events))
    throw new UsageError(
      'still_quarantined',
      `No event was taken from this delivery, so there is none to release. ${stored.reason ?? ''} Discard it and let the provider send it again, after the connector is mended where it read it wrongly.`,
    )
  const { event, runs } = readAgain(() => {
    const event = eventOf(stored, connector)
    const flows = context.flows.startingOn(stored.connector, stored.type, stored.connection_name)
    return { event, runs: flows.map((flow) => newRun(flow, event, tenant, id)) }
  })
  const definition = connector.events[stored.type] as EventDefinition
  const { connector: connectorName, connection_id: connectionId, type } = stored
  const arrival = { tenant, connector: connectorName, type, fields: fieldsOf(definition, event) }
  await client.query(
    `update events set state = $3, reason = null, reason_path = null, summary = $4 where tenant = $1 and id = $2`,
    [tenant, id, runs.length > 0 ? 'dispatched' : 'unmatched', summaryOf(definition, event.data)],
  )
  await insertFields(client, { ...arrival, connectionId, eventId: id })
  await insertRuns(client, runs)
  await context.wake(client, runs)
  return { runs: runs.map((run) => run.id), arrived: [arrival], started: runs }
}

/** The type of what stands for a delivery from which no event could be read. */
const UNREADABLE = 'unreadable'

function readAgain<Read>(read: () => Read): Read {
  try {
    return read()
  } catch (error) {
    throw new UsageError(
      'still_quarantined',
      `It still cannot pass: ${reasonOf(error).replace(/\.$/, '')}. Mend the connector's contract or the flow's key, then release it; or discard it.`,
      { cause: error },
    )
  }
}
