import { durationWords } from '../../base/index.ts'
import type { RunState } from '../../define/index.ts'
import type { PendingStep } from '../../flows/index.ts'

/** A time in words, seen from `now`: `in 41 s, at 2026-11-22 12:00:41 UTC`. */
export function timeWords(at: number, now: number): string {
  if (at <= now) return 'now'
  return `in ${durationWords(at - now)}, at ${new Date(at).toISOString().slice(0, 19).replace('T', ' ')} UTC`
}

/** What a suspended step waits for: what is said first, and the time that ends the sentence, where there is one. */
export interface Wait {
  readonly text: string
  /** Milliseconds since 1970. */
  readonly until: number | undefined
}

export function waitOf(step: PendingStep): Wait {
  switch (step.kind) {
    case 'sleep':
      return { text: 'Sleeps, and goes on', until: step.until }
    case 'wait':
      return {
        text: `Waits for ${step.connector} "${step.type}" with ${step.field} = ${step.value}${step.connection === undefined ? '' : ` over ${step.connection}`}; gives up waiting`,
        until: step.until,
      }
    case 'operation':
      return callWait(step)
  }
}

/** {@link waitOf} as a sentence without its full stop. */
export function waitWords(step: PendingStep, now: number): string {
  const { text, until } = waitOf(step)
  return until === undefined ? text : `${text} ${timeWords(until, now)}`
}

function callWait(step: Extract<PendingStep, { kind: 'operation' }>): Wait {
  const why = step.reason === undefined ? '' : ` (${trimStop(step.reason)})`
  const until = step.until ?? undefined
  const again = until === undefined ? ' when it can' : ''
  if (step.outage !== undefined && step.phase === 'parked')
    return {
      text: `${step.name} waits for the end of an outage${why}; it goes on by itself, in order, when that is over`,
      until: undefined,
    }
  switch (step.phase) {
    case 'none':
      return { text: `${step.name} is about to be tried`, until: undefined }
    case 'retry':
      return {
        text: `Attempt ${step.attempts} of ${step.name} failed${why}; the next one is made${again}`,
        until,
      }
    case 'deferred':
      return { text: `${step.name} is held back${why}; it is asked for again${again}`, until }
    case 'parked':
      return { text: `${step.name} waits for something outside${why}; it is looked at again${again}`, until }
    case 'in_doubt':
      return {
        text: `Whether ${step.name} was done is not known${why}; that is found out${again}`,
        until,
      }
    case 'held':
      return { text: `A person must say whether ${step.name} was done${why}`, until: undefined }
    case 'late':
      return { text: `A person must say whether ${step.name} still makes sense${why}`, until: undefined }
  }
}

export interface LanePlace {
  /** 1: it is its turn. */
  readonly position: number
  /** The run that goes before all others of the lane, and what it waits for. */
  readonly behind: LaneHead | undefined
}

export interface LaneHead {
  readonly id: string
  readonly state: RunState
  readonly reason?: string | undefined
  readonly waits?: readonly PendingStep[]
}

export interface RunFacts {
  readonly state: RunState
  readonly reason: string | undefined
  readonly createdAt: number
  readonly finishedAt: number | undefined
  readonly waits: readonly PendingStep[]
  readonly lane: LanePlace | undefined
  /** What its provider said last, as a sentence, where it gave up. */
  readonly lastAnswer?: string | undefined
}

/** Where a run stands and what would move it, in one or two sentences. */
export function runWords(run: RunFacts, now: number): string {
  const why = run.reason === undefined ? '.' : `: ${withStop(run.reason)}`
  const waits = run.waits.map((step) => ` ${withStop(waitWords(step, now))}`).join('')
  const answer = run.lastAnswer === undefined ? '' : ` ${withStop(run.lastAnswer)}`
  switch (run.state) {
    case 'queued':
      return queuedWords(run, now)
    case 'running':
      return 'A worker executes it now.'
    case 'waiting':
      return waits === '' ? 'It waits.' : waits.slice(1)
    case 'parked':
      return run.waits.some((step) => step.kind === 'operation' && step.outage !== undefined)
        ? waits.slice(1)
        : `It waits for something outside it${waits === '' ? why : `.${waits}`} When that is mended, retry it; else cancel it.`
    case 'held':
      return `It waits for a person${waits === '' ? why : `.${waits}`}`
    case 'undoing':
      return `What it did is being undone${why}${waits}`
    case 'succeeded':
      return `It succeeded${tookWords(run)}${why}`
    case 'undone':
      return `It gave up, and what it had done was undone${why}${answer}`
    case 'dead_lettered':
      return `It gave up${why}${answer} Retry it (the same run goes on), replay its event (a new run), or cancel it.`
    case 'cancelled':
      return `It was cancelled${why}`
  }
}

function queuedWords({ lane }: RunFacts, now: number): string {
  if (lane?.behind === undefined) return 'It is ready: a worker takes it up next.'
  const before =
    lane.position === 2 ? 'One run of its lane goes first' : `${lane.position - 1} runs of its lane go first`
  return `${before}: ${headWords(lane.behind, now)}`
}

/** Where the first run of a lane stands: what holds up those behind it. */
export function headWords({ id, state, reason, waits = [] }: LaneHead, now: number): string {
  const what = waits.map((step) => ` ${withStop(waitWords(step, now))}`).join('')
  const why = what === '' && reason !== undefined ? ` (${trimStop(reason)})` : ''
  return `${id} is ${state.replace('_', ' ')}${why}.${what}`
}

function tookWords({ createdAt, finishedAt }: RunFacts): string {
  return finishedAt === undefined
    ? ''
    : ` ${durationWords(Math.max(0, finishedAt - createdAt))} after its event`
}

function withStop(text: string): string {
  return /[.!?…]$/.test(text) ? text : `${text}.`
}

function trimStop(text: string): string {
  return text.replace(/\.$/, '')
}
