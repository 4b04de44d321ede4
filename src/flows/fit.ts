import { SECOND, type Clock } from '../base/index.ts'
import type { AnyFlow, FlowEvent } from '../define/index.ts'
import { VersionConflictError } from './errors.ts'
import type { ExecutionDeps } from './asking.ts'
import { Execution } from './execution.ts'
import { stepKey } from './playback.ts'
import type { ClaimedRun } from './run.ts'

/** Whether a run can go on with a flow's code. */
export type Fit = { readonly as: 'fits' } | { readonly as: 'conflicts'; readonly reason: string }

/** A flow's code that has not come to an end by then is not waited for: it fits as far as can be told. */
const LIMIT_MS = 3 * SECOND

/**
 * Plays the run's journal to the flow's code and looks whether it asks for the same again. The code between the steps
 * is executed, as at every resume; no step is, nothing is sent and nothing is written.
 */
export async function checkFit(run: ClaimedRun, flow: AnyFlow, event: FlowEvent, clock: Clock): Promise<Fit> {
  // In a check nothing else of a node is asked for.
  const deps = { clock, entering: () => {} } as unknown as ExecutionDeps
  const execution = new Execution(run, flow, event, 'check', deps)
  const late = new Promise<undefined>((resolve) => clock.after(LIMIT_MS, () => resolve(undefined)))
  const end = await Promise.race([execution.start(), late])
  if (end?.as === 'threw' && end.error instanceof VersionConflictError)
    return { as: 'conflicts', reason: end.error.what }
  const [unasked] = end?.as === 'suspended' ? end.pending : []
  if (unasked)
    return {
      as: 'conflicts',
      reason: `It waits at the step ${stepKey(unasked.name, unasked.ordinal)}, which was begun and which the flow's code no longer asks for.`,
    }
  return { as: 'fits' }
}
