import { request } from 'undici'
import { encodeJson, reasonOf } from '../../base/index.ts'
import type { Effect } from './effects.ts'
import type { DownMode, Fault } from './faults.ts'
import { jsonOf, type TwinAnswer } from './routes.ts'
import type { LoggedRequest, Twin } from './twin.ts'
import type { SourceDelivery } from './webhooks.ts'

/** Things that can be made to happen at the provider, by name. Input and result are JSON. */
export type TwinActions = Readonly<Record<string, (input: never) => unknown>>

/** What `POST /__twin/switch` takes: one change of a twin's faults or webhook disturbances. */
export type TwinSwitch =
  | { readonly down: boolean; readonly mode?: DownMode }
  | { readonly arm: Fault; readonly times: number; readonly only?: string }
  | { readonly chaos: number; readonly seed?: string }
  | { readonly duplicateNext: number; readonly copies?: number }
  | { readonly reverseNext: number }
  | { readonly forgeBeforeNext: number }
  | { readonly loseNext: number }
  | { readonly resend: number }
  | { readonly clear: true }

/**
 * The admin API, on the twin's own port, so that another process can switch faults and read the ledgers:
 * `GET /__twin/effects`, `requests`, `deliveries`, `faults` (each with `?after=<number>` where numbered),
 * `POST /__twin/switch`, `POST /__twin/actions/:name`. It works while the twin is down, except in mode `refuse`,
 * where nothing can be reached: only the process that holds the twin can bring it back.
 */
export async function answerAdmin(twin: Twin, method: string, url: URL, body: Buffer): Promise<TwinAnswer> {
  const [, , what = '', name = ''] = url.pathname.split('/')
  const after = Number(url.searchParams.get('after') ?? 0)
  const later = <T extends { number: number }>(list: readonly T[]): readonly T[] =>
    list.filter(({ number }) => number > after)
  switch (`${method} ${what}`) {
    case 'GET effects':
      return ok(later(twin.effects()))
    case 'GET requests':
      return ok(later(twin.requests()))
    case 'GET deliveries':
      return ok(later(twin.deliveries()))
    case 'GET faults':
      return ok(twin.faults.state())
    case 'POST switch':
      return turnSwitch(twin, jsonOf(body) as TwinSwitch | undefined)
    case 'POST actions':
      return twin.act(name, jsonOf(body)).then(ok, (error: unknown) => wrong(reasonOf(error)))
    default:
      return wrong(`There is no ${method} ${url.pathname}.`)
  }
}

function turnSwitch(twin: Twin, change: TwinSwitch | undefined): TwinAnswer | Promise<TwinAnswer> {
  if (change === undefined || typeof change !== 'object') return wrong('Send one change as a JSON object.')
  if ('down' in change) twin.faults.down(change.down, change.mode)
  else if ('arm' in change) twin.faults.arm(change.times, change.arm, { only: change.only })
  else if ('chaos' in change) twin.faults.chaos(change.chaos, change.seed)
  else if ('duplicateNext' in change) twin.webhooks.duplicateNext(change.duplicateNext, change.copies)
  else if ('reverseNext' in change) twin.webhooks.reverseNext(change.reverseNext)
  else if ('forgeBeforeNext' in change) twin.webhooks.forgeBeforeNext(change.forgeBeforeNext)
  else if ('loseNext' in change) twin.webhooks.loseNext(change.loseNext)
  else if ('resend' in change) return twin.webhooks.resend(change.resend).then(ok)
  else if ('clear' in change) twin.faults.clear()
  else return wrong(`Unknown change: ${Object.keys(change).join(', ')}.`)
  return ok(twin.faults.state())
}

function ok(json: unknown): TwinAnswer {
  return { status: 200, json: json ?? null }
}

function wrong(message: string): TwinAnswer {
  return { status: 400, json: { message } }
}

/** A twin in another process, by its admin API. */
export interface RemoteTwin {
  effects(after?: number): Promise<readonly Effect[]>
  requests(after?: number): Promise<readonly LoggedRequest[]>
  deliveries(after?: number): Promise<readonly SourceDelivery[]>
  /** Changes faults or disturbances. */
  turn(change: TwinSwitch): Promise<void>
  /** Makes something happen at the provider. */
  act(action: string, input?: unknown): Promise<unknown>
}

export function connectToTwin(url: string): RemoteTwin {
  const ask = async (method: 'GET' | 'POST', path: string, input?: unknown): Promise<unknown> => {
    const answer = await request(`${url}/__twin/${path}`, {
      method,
      ...(input === undefined
        ? {}
        : { body: encodeJson(input), headers: { 'content-type': 'application/json' } }),
    })
    const json: unknown = await answer.body.json()
    if (answer.statusCode !== 200)
      throw new Error(`The twin at ${url} refused ${method} ${path}: ${JSON.stringify(json)}`)
    return json
  }
  return {
    effects: (after = 0) => ask('GET', `effects?after=${after}`) as Promise<Effect[]>,
    requests: (after = 0) => ask('GET', `requests?after=${after}`) as Promise<LoggedRequest[]>,
    deliveries: (after = 0) => ask('GET', `deliveries?after=${after}`) as Promise<SourceDelivery[]>,
    turn: async (change) => {
      await ask('POST', 'switch', change)
    },
    act: (action, input) => ask('POST', `actions/${action}`, input),
  }
}
