import { TrestleError } from '../base/index.ts'

/** A step that failed for good: what the flow's code may catch. Uncaught, the run gives up. */
export class StepFailedError extends TrestleError {
  readonly step: string
  readonly ordinal: number
  constructor(step: string, ordinal: number, code: string, reason: string) {
    super(code, reason)
    this.step = step
    this.ordinal = ordinal
  }
}

/** The journal and the flow's code tell different stories: the code was changed under a run in flight. */
export class VersionConflictError extends TrestleError {
  /** The difference alone, without the ways out. */
  readonly what: string
  constructor(message: string) {
    super(
      'version_conflict',
      `${message} Add the version that the run began with to "flows" again and retry it, or migrate it (trestle runs migrate), or cancel it.`,
    )
    this.what = message
  }
}

/** The execution of the run is over on this node: nothing that it still does counts. Never shown to anybody. */
export class ExecutionEndedError extends TrestleError {
  constructor() {
    super(
      'awaited_outside_step',
      'This execution of the run has ended: the flow awaited something that is no step. Put it into step(name, work).',
    )
  }
}
