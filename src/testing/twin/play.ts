import { pause, type Clock } from '../../base/index.ts'
import { alterField, type DownMode, type Fault } from './faults.ts'
import { render, type TwinAnswer } from './routes.ts'

/** The provider's own error body. */
export type ErrorBody = (status: number, message: string) => unknown

/** What the caller gets: an answer, or a connection that is cut. */
export type Outcome = TwinAnswer | 'reset'

/** One exchange under a fault: when the provider acts, and what leaves. `act` is what the provider does. */
export async function playFault(
  fault: Fault | undefined,
  { act, clock, errorBody }: { act: () => Promise<TwinAnswer>; clock: Clock; errorBody: ErrorBody },
): Promise<Outcome> {
  if (fault === undefined) return act()
  switch (fault.kind) {
    case 'fail':
      if (fault.inside) return act()
      if (fault.acted) await act()
      return failAnswer(fault, errorBody)
    case 'rate_limit':
      return {
        ...failure(429, 'too many requests', errorBody),
        headers: { 'retry-after': String(fault.retryAfterSeconds) },
      }
    case 'reset_before_acting':
      return 'reset'
    case 'reset_after_acting':
      await act()
      return 'reset'
    case 'slow':
      return fault.actLate ? actLate(fault.ms, clock, act) : answerLate(fault.ms, clock, act)
    case 'garbage':
      return garbage(await act(), fault.as)
    default:
      return altered(await act(), fault.path, fault.kind === 'drop_field' ? 'drop' : 'add')
  }
}

/** What the caller of a provider gets that is down. */
export function playDown(mode: DownMode, errorBody: ErrorBody): Outcome {
  return mode === 'unavailable' ? failure(503, 'the provider is down', errorBody) : 'reset'
}

/** The answer of a `fail` fault: the body that the test gave, else the provider's own. */
export function failAnswer(fault: Extract<Fault, { kind: 'fail' }>, errorBody: ErrorBody): TwinAnswer {
  const headers = fault.headers ? { headers: fault.headers } : {}
  if (fault.body === undefined)
    return { ...failure(fault.status, 'a fault that was switched on', errorBody), ...headers }
  if (typeof fault.body === 'string') return { status: fault.status, text: fault.body, ...headers }
  return { status: fault.status, json: fault.body, ...headers }
}

/** An error answer in the provider's own form. */
export function failure(status: number, message: string, errorBody: ErrorBody): TwinAnswer {
  return { status, json: errorBody(status, message) }
}

async function actLate(ms: number, clock: Clock, act: () => Promise<TwinAnswer>): Promise<TwinAnswer> {
  await pause(clock, ms)
  return act()
}

async function answerLate(ms: number, clock: Clock, act: () => Promise<TwinAnswer>): Promise<TwinAnswer> {
  const answer = await act()
  await pause(clock, ms)
  return answer
}

function altered(answer: TwinAnswer, path: string, how: 'drop' | 'add'): TwinAnswer {
  return { ...answer, json: alterField(answer.json, path, how) }
}

function garbage(answer: TwinAnswer, as: 'html' | 'truncated'): TwinAnswer {
  if (as === 'html')
    return {
      status: 200,
      headers: { 'content-type': 'text/html' },
      text: '<html><body><h1>Down for maintenance</h1></body></html>',
    }
  const { body, headers } = render(answer)
  return { status: 200, headers, text: body.slice(0, Math.floor(body.length / 2)) }
}
