import type { IncomingMessage, ServerResponse } from 'node:http'
import { reasonOf, seededRandom, systemClock, type Clock, type Random } from '../../base/index.ts'
import { answerAdmin, type TwinActions } from './admin.ts'
import { createEffectLedger, type Effect } from './effects.ts'
import { createFaults, type Fault, type Faults } from './faults.ts'
import { failAnswer, failure, playDown, playFault, type ErrorBody } from './play.ts'
import { createPort, cutConnection, headersOf, readBody, sendAnswer } from './port.ts'
import {
  findRoute,
  jsonOf,
  Refusal,
  type EffectNote,
  type TwinAnswer,
  type TwinRequest,
  type TwinRoute,
} from './routes.ts'
import {
  createWebhookSender,
  type SendingPolicy,
  type SourceDelivery,
  type WebhookSender,
} from './webhooks.ts'

export interface TwinOptions<State> {
  /** Of the provider: `'stripe'`. */
  readonly name: string
  readonly state: State
  readonly routes: readonly TwinRoute<State>[]
  /** Asked before every route; an answer ends the request, for example with 401. */
  readonly authorize?: (request: TwinRequest<State>) => TwinAnswer | undefined
  /** The provider's own error body for faults, 404 and 500. Default: `{ "error": { "status", "message" } }`. */
  readonly errorBody?: ErrorBody
  /** Headers on every answer, such as a request id. */
  readonly headers?: (request: { readonly number: number }) => Readonly<Record<string, string>>
  /** Things that a test or the demo makes happen, by name, also over `POST /__twin/actions/:name`. */
  readonly actions?: TwinActions
  /** Seed of ids and chaos. Default: the name. */
  readonly seed?: string
  /** Default: the machine's clock. */
  readonly clock?: Clock
  readonly webhooks?: SendingPolicy
  /** Each effect is appended here, one line of JSON, and synced before the answer leaves. */
  readonly witnessFile?: string
  /** Requests kept in the log; older ones fall out. Default 10,000. */
  readonly requestLogLimit?: number
}

/** One request in a twin's log. */
export interface LoggedRequest {
  readonly number: number
  readonly at: number
  readonly method: string
  readonly path: string
  /** Without the question mark. */
  readonly query: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  /** What was answered; `'reset'` where the connection was cut, `undefined` while it is under way. */
  readonly status: number | 'reset' | undefined
  /** The fault that was played, if any. */
  readonly fault: Fault['kind'] | 'down' | undefined
}

/** A local stand-in for a provider that speaks its real HTTP API, on 127.0.0.1. */
export interface Twin<State = unknown> {
  readonly name: string
  readonly state: State
  readonly clock: Clock
  readonly random: Random
  readonly faults: Faults
  readonly webhooks: WebhookSender
  /** `http://127.0.0.1:<port>`. Throws before `start`. */
  readonly url: string
  /** Listens, and gives the URL. Port 0 (default) takes a free one. */
  start(port?: number): Promise<string>
  /** Closes the port, cuts open connections, ends webhook retries. Safe to call twice. */
  stop(): Promise<void>
  /** The newest requests, oldest first. */
  requests(): readonly LoggedRequest[]
  /** How many requests there were in all. */
  requestCount(): number
  effects(): readonly Effect[]
  /** Notes an effect that no request caused. */
  effect(effect: EffectNote): void
  deliveries(): readonly SourceDelivery[]
  /** Errors thrown by the twin's own routes: a fault of the twin, which a test should fail on. */
  ownErrors(): readonly string[]
  /** A new provider-style id: prefix and `length` letters and digits, from the seed. */
  newId(prefix: string, length?: number): string
  /** Makes one of its actions happen. */
  act(action: string, input?: unknown): Promise<unknown>
}

type Entry = { -readonly [Key in keyof LoggedRequest]: LoggedRequest[Key] }

/** Makes a twin. It does nothing before `start`. */
export function createTwin<State>(options: TwinOptions<State>): Twin<State> {
  const clock = options.clock ?? systemClock
  const seed = options.seed ?? options.name
  const random = seededRandom(`${seed} ids`)
  const errorBody = options.errorBody ?? plainErrorBody
  const effects = createEffectLedger(options.name, options.witnessFile)
  const webhooks = createWebhookSender(clock, options.webhooks)
  const log = createRequestLog(options.requestLogLimit ?? 10_000)
  const ownErrors: string[] = []
  const port = createPort(receive)
  const faults = createFaults(seed, (mode) => void (mode === 'refuse' ? port.close() : port.open()))

  async function receive(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await readBody(incoming)
    const url = new URL(incoming.url ?? '/', 'http://twin')
    if (url.pathname.startsWith('/__twin/'))
      return sendAnswer(response, await answerAdmin(twin, incoming.method ?? 'GET', url, body))
    return exchange(log.open(incoming, url, body, clock.now()), url, body, response)
  }

  /** One exchange with the provider: log, fault, act, answer. */
  async function exchange(entry: Entry, url: URL, body: Buffer, response: ServerResponse): Promise<void> {
    const { down } = faults.state()
    const fault = down ? undefined : faults.take({ method: entry.method, path: entry.path, body })
    entry.fault = down ? 'down' : fault?.kind
    const outcome = down
      ? playDown(down, errorBody)
      : await playFault(fault, { act: () => act(entry, url, body, fault), clock, errorBody })
    entry.status = outcome === 'reset' ? 'reset' : outcome.status
    if (outcome === 'reset') cutConnection(response)
    else sendAnswer(response, { ...outcome, headers: { ...options.headers?.(entry), ...outcome.headers } })
  }

  /** What the provider does with the request. */
  async function act(entry: Entry, url: URL, body: Buffer, fault: Fault | undefined): Promise<TwinAnswer> {
    const found = findRoute(options.routes, entry.method, entry.path)
    const failInside = fault?.kind === 'fail' && fault.inside ? failAnswer(fault, errorBody) : undefined
    const request: TwinRequest<State> = {
      number: entry.number,
      method: entry.method,
      path: entry.path,
      headers: entry.headers,
      params: found?.params ?? {},
      query: url.searchParams,
      body,
      json: jsonOf(body),
      form: new URLSearchParams(isForm(entry.headers) ? body.toString('utf8') : ''),
      state: options.state,
      now: clock.now(),
      effect: (effect) => effects.note(effect, clock.now(), entry.number),
      failInside,
    }
    try {
      const refused = options.authorize?.(request)
      if (refused) return refused
      if (!found) return failure(404, `there is no ${entry.method} ${entry.path}`, errorBody)
      if (failInside && !found.route.storesAnswers) return failInside
      return await found.route.answer(request)
    } catch (error) {
      if (error instanceof Refusal) return error.answer
      ownErrors.push(`${entry.method} ${entry.path}: ${reasonOf(error)}`)
      return failure(500, `the twin itself failed: ${reasonOf(error)}`, errorBody)
    }
  }

  const twin: Twin<State> = {
    name: options.name,
    state: options.state,
    clock,
    random,
    faults,
    webhooks,
    get url() {
      if (port.number() === 0) throw new Error(`The twin ${options.name} has no address before start().`)
      return `http://127.0.0.1:${port.number()}`
    },
    async start(wanted = 0) {
      await port.open(wanted)
      return twin.url
    },
    async stop() {
      webhooks.stop()
      await port.close()
      effects.close()
    },
    requests: () => log.list(),
    requestCount: () => log.count(),
    effects: () => effects.list(),
    effect: (effect) => effects.note(effect, clock.now(), 0),
    deliveries: () => webhooks.deliveries(),
    ownErrors: () => ownErrors,
    newId: (prefix, length = 24) => `${prefix}${letters(random, length)}`,
    async act(action, input) {
      const wanted = options.actions?.[action] as ((input: unknown) => unknown) | undefined
      if (!wanted) {
        const known = Object.keys(options.actions ?? {}).join(', ')
        throw new Error(`The twin ${options.name} has no action "${action}". It has: ${known}.`)
      }
      return wanted(input)
    },
  }
  return twin
}

/** The newest requests, at most `limit`. */
function createRequestLog(limit: number): {
  open(incoming: IncomingMessage, url: URL, body: Buffer, at: number): Entry
  list(): readonly LoggedRequest[]
  count(): number
} {
  const entries: Entry[] = []
  let count = 0
  return {
    open(incoming, url, body, at) {
      const entry: Entry = {
        number: ++count,
        at,
        method: incoming.method ?? 'GET',
        path: url.pathname,
        query: url.search.slice(1),
        headers: headersOf(incoming),
        body: body.toString('utf8'),
        status: undefined,
        fault: undefined,
      }
      entries.push(entry)
      if (entries.length > limit) entries.shift()
      return entry
    },
    list: () => entries,
    count: () => count,
  }
}

function plainErrorBody(status: number, message: string): unknown {
  return { error: { status, message } }
}

function isForm(headers: Readonly<Record<string, string>>): boolean {
  return headers['content-type']?.startsWith('application/x-www-form-urlencoded') ?? false
}

const LETTERS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'

function letters(random: Random, length: number): string {
  let text = ''
  for (let i = 0; i < length; i++) text += LETTERS[Math.floor(random.next() * LETTERS.length)]
  return text
}
