import { systemClock } from '../base/index.ts'
import { writeEntries } from '../ledger/index.ts'
import { declaredSchedules, Scheduler, type SchedulerOptions } from '../schedules/index.ts'
import { TENANT, type Installation } from './installation.ts'

/** Starts what starts by itself: the flows' schedules and polls. */
export async function startSchedules(
  { database, clock, random, flows, connectorNamed }: Installation,
  parts: Pick<SchedulerOptions, 'node' | 'call' | 'connectionFor' | 'acceptWithin' | 'inHold' | 'onFault'>,
): Promise<Scheduler> {
  const scheduler = new Scheduler({
    ...parts,
    database,
    clock,
    random,
    tenant: TENANT,
    declared: declaredSchedules(flows.all),
    connectorNamed,
    writeEntries,
    // A clock that a test or a drill moves is the only one there.
    trustsOnlyBoth: clock === systemClock,
  })
  await scheduler.start()
  return scheduler
}
