import { AsyncLocalStorage } from 'node:async_hooks'
import {
  codeOf,
  DAY,
  durationMs,
  encodeJson,
  PermanentError,
  reasonOf,
  UsageError,
  type Duration,
} from '../base/index.ts'
import type { EventTrigger, FlowEvent, WaitOptions } from '../define/index.ts'
import { fieldValue } from '../inbox/index.ts'
import { rejected, type Asking } from './asking.ts'
import { stepKey } from './playback.ts'
import type { JournalRow, PendingStep, StepKind } from './run.ts'
import { LONGEST_WAIT_MS, RESULT_LIMIT_BYTES } from './runLimits.ts'

/** Steps that call nobody: local work, sleep, and waiting for an event. */

const insideStep = new AsyncLocalStorage<string>()

/** The local step whose work this code is part of, if it is. */
export function stepAround(): string | undefined {
  return insideStep.getStore()
}

/** Local code whose result is kept. */
export function askLocal(asking: Asking, name: string, work: () => unknown): Promise<unknown> {
  return asking.ask(name, { kind: 'local' }, async (ordinal) => {
    if (asking.resolving()) return
    const base = {
      kind: 'local' as const,
      name,
      ordinal,
      connectionId: undefined,
      operation: undefined,
      inputDigest: undefined,
      undo: undefined,
      summary: undefined,
    }
    let row: Omit<JournalRow, 'seq' | 'finishedAt'>
    try {
      const result: unknown = await insideStep.run(name, async () => work())
      const bytes = result === undefined ? undefined : boundedResult(name, result)
      row = {
        ...base,
        outcome: 'succeeded',
        result: bytes,
        errorCode: undefined,
        error: undefined,
      }
    } catch (error) {
      row = {
        ...base,
        outcome: 'failed',
        result: undefined,
        errorCode: codeOf(error, 'step_threw'),
        error: reasonOf(error),
      }
    }
    await asking.journal(row)
  })
}

/** Wakes up at a time, or after one. */
export function askSleep(asking: Asking, until: Duration | Date): Promise<void> {
  const { clock } = asking.deps
  const now = clock.now()
  let at: number
  try {
    at = until instanceof Date ? until.getTime() : now + durationMs(until)
    if (Number.isNaN(at))
      throw new UsageError(
        'duration_invalid',
        'The date to sleep until is not valid. Pass a Date, or a duration such as "2 days".',
      )
    refuseTooLong(at - now)
  } catch (error) {
    return rejected(error)
  }
  const ask = asking.ask('sleep', { kind: 'sleep' }, async (ordinal) => {
    if (asking.resolving()) return
    const resumed = asking.resumed.get(stepKey('sleep', ordinal))
    const step: PendingStep = {
      kind: 'sleep',
      name: 'sleep',
      ordinal,
      until: resumed?.kind === 'sleep' ? resumed.until : at,
    }
    const wake = async (): Promise<void> => {
      if (clock.now() < step.until) return asking.wait(step, wake)
      await asking.journal({ ...plainRow('sleep', 'sleep', ordinal), outcome: 'succeeded' })
    }
    await wake()
  })
  return ask as Promise<void>
}

/** The first event that matches, since the run began and that it has not had; `undefined` when its time is over. */
export function askForEvent(
  asking: Asking,
  trigger: EventTrigger,
  options: WaitOptions,
): Promise<FlowEvent | undefined> {
  const { run, consumed } = asking
  const { clock, findEvent } = asking.deps
  const value = fieldValue(options.equals)
  let timeoutMs: number
  try {
    timeoutMs = durationMs(options.timeout)
    refuseTooLong(timeoutMs)
    if (trigger.definition.match?.includes(options.on) !== true)
      throw new UsageError(
        'wait_field_undeclared',
        `${trigger.connector} events "${trigger.type}" cannot be matched on "${options.on}". Declared for matching: ${trigger.definition.match?.join(', ') ?? 'nothing'}.`,
      )
    if (value === undefined)
      throw new UsageError(
        'wait_value_invalid',
        `waitFor("${trigger.type}") needs a text, number or boolean in "equals".`,
      )
  } catch (error) {
    return rejected(error)
  }
  const name = `wait:${trigger.connector}.${trigger.type}`
  const ask = asking.ask(name, { kind: 'wait' }, async (ordinal) => {
    if (asking.resolving()) return
    const resumed = asking.resumed.get(stepKey(name, ordinal))
    const until = resumed?.kind === 'wait' ? resumed.until : clock.now() + timeoutMs
    const step = {
      kind: 'wait' as const,
      name,
      ordinal,
      until,
      connector: trigger.connector,
      connection: trigger.connection,
      type: trigger.type,
      field: options.on,
      value,
    }
    const look = async (): Promise<void> => {
      const event = await findEvent(run, step, consumed)
      if (!event && clock.now() < until) return asking.wait(step, look)
      // Another wait of this run took it meanwhile: there may be a next one.
      if (event && consumed.includes(event.id)) return look()
      if (event) consumed.push(event.id)
      await asking.journal({
        ...plainRow('wait', name, ordinal),
        outcome: 'succeeded',
        result: event && Buffer.from(encodeJson(event)),
      })
    }
    await look()
  })
  return ask as Promise<FlowEvent | undefined>
}

function refuseTooLong(ms: number): void {
  if (ms > LONGEST_WAIT_MS)
    throw new UsageError(
      'duration_invalid',
      `A run can wait for ${LONGEST_WAIT_MS / DAY} days at most. Wait for less, or start another run then.`,
    )
}

function boundedResult(name: string, result: unknown): Buffer {
  const bytes = Buffer.from(encodeJson(result))
  if (bytes.length <= RESULT_LIMIT_BYTES) return bytes
  throw new PermanentError(
    'result_too_large',
    `The step "${name}" returned ${bytes.length} bytes; at most ${RESULT_LIMIT_BYTES} are kept in the journal. Return an id or a summary, and read the rest where it is needed.`,
  )
}

function plainRow(
  kind: StepKind,
  name: string,
  ordinal: number,
): Omit<JournalRow, 'seq' | 'finishedAt' | 'outcome'> {
  return {
    kind,
    name,
    ordinal,
    connectionId: undefined,
    operation: undefined,
    inputDigest: undefined,
    result: undefined,
    errorCode: undefined,
    error: undefined,
    undo: undefined,
    summary: undefined,
  }
}
