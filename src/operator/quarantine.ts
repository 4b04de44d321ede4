import { NotFoundError, reasonOf, UsageError, type EventId, type RunId } from '../base/index.ts'
import { eventOf, insertRuns, newRun, type StoredEvent } from '../inbox/index.ts'
import { lockRun, queueRun } from './lockRun.ts'
import type { ActionContext } from './operator.ts'

/** What a release set going. */
export interface Released {
  readonly runs: readonly RunId[]
}

interface Quarantined {
  readonly id: string
  readonly kind: 'event' | 'answer'
  readonly state: string
  readonly event_id: EventId | null
  readonly run_id: RunId | null
}

/**
 * An event is read again by today's contract and dispatched; it stays quarantined where that still refuses it. An
 * answer passes as it is: the person vouches for it, and its run goes on.
 */
export async function releaseQuarantined(id: string, context: ActionContext): Promise<Released> {
  const thing = await lockQuarantined(id, context)
  const runs = thing.kind === 'event' ? await dispatchEvent(thing.event_id!, context) : [thing.run_id!]
  await settle(thing, 'released', context)
  if (thing.kind === 'answer') await queueRun(context, await lockRun(thing.run_id!, context))
  return { runs }
}

/** It never passes: the event is discarded; the step that waits for the answer fails. */
export async function discardQuarantined(id: string, context: ActionContext): Promise<void> {
  const thing = await lockQuarantined(id, context)
  await settle(thing, 'discarded', context)
  if (thing.kind === 'answer') return queueRun(context, await lockRun(thing.run_id!, context))
  await context.client.query(`update events set state = 'discarded' where tenant = $1 and id = $2`, [
    context.tenant,
    thing.event_id,
  ])
}

async function lockQuarantined(id: string, { client, tenant }: ActionContext): Promise<Quarantined> {
  const { rows } = await client.query<Quarantined>(
    'select id, kind, state, event_id, run_id from quarantine where tenant = $1 and id = $2 for update',
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
  await context.writeEntries(context.client, [
    {
      tenant: context.tenant,
      at: context.clock.now(),
      actor: context.actor,
      action: state === 'released' ? 'quarantine.released' : 'quarantine.discarded',
      target: thing.id,
      outcome: state,
      ...(thing.run_id === null ? {} : { runId: thing.run_id }),
      detail: { kind: thing.kind, event: thing.event_id },
    },
  ])
}

async function dispatchEvent(id: EventId, context: ActionContext): Promise<RunId[]> {
  const { rows } = await context.client.query<StoredEvent & { connector: string }>(
    `select e.id as event_id, e.type, e.occurred_at, e.received_at, e.data_at, d.content_type, d.body, n.name as connection_name, n.connector
     from events e join deliveries d on d.tenant = e.tenant and d.id = e.delivery_id join connections n on n.tenant = e.tenant and n.id = e.connection_id
     where e.tenant = $1 and e.id = $2 for no key update of e`,
    [context.tenant, id],
  )
  const stored = rows[0]!
  const connector = context.connectorNamed(stored.connector)
  if (!connector)
    throw new UsageError(
      'connector_missing',
      `The connector "${stored.connector}" is not in the configuration. Add a connection of it, then release.`,
    )
  try {
    const event = eventOf(stored, connector)
    const runs = context.flows
      .startingOn(stored.connector, stored.type, stored.connection_name)
      .map((flow) => newRun(flow, event, context.tenant))
    await insertRuns(context.client, runs)
    await context.client.query(
      `update events set state = $3, reason = null, reason_path = null where tenant = $1 and id = $2`,
      [context.tenant, id, runs.length > 0 ? 'dispatched' : 'unmatched'],
    )
    await context.wake(context.client, runs)
    return runs.map((run) => run.id)
  } catch (error) {
    throw new UsageError(
      'still_quarantined',
      `It still cannot pass: ${reasonOf(error)} Mend the connector's contract or the flow's key, then release it; or discard it.`,
      { cause: error },
    )
  }
}
