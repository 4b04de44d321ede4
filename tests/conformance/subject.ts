import { createFakeClock, type FakeClock, type Twin } from '../../src/testing/index.ts'
import type { AnyConnector, AnyOperation, ProviderAnswer } from '../../src/define/index.ts'
import {
  checked,
  classify,
  exchange,
  rawOutput,
  wireRequest,
  type Asking,
  type WireRequest,
} from './exchange.ts'

/** What a connector brings to the suite. */
export interface ConformanceOptions<T extends Twin> {
  readonly connector: AnyConnector
  /** The folder of the connector: `new URL('.', import.meta.url)`. */
  readonly folder: URL
  /** A new twin with this clock, not started. */
  readonly twin: (clock: FakeClock) => T
  /** Non-secret settings of the connection. */
  readonly settings?: Readonly<Record<string, string>>
  /** Headers that authorize a request, as the vault would make them. */
  readonly authorize: (twin: T, request: WireRequest) => Readonly<Record<string, string>>
  /** One sample for each operation. */
  readonly samples: Readonly<Record<string, Sample<T>>>
  readonly webhooks?: {
    /** Secrets with which the twin signs. Empty where the connector's webhooks are unsigned. */
    readonly secrets: readonly string[]
    /** Makes the twin send webhooks of every event type to this URL, and waits for them. */
    readonly send: (twin: T, url: string) => Promise<unknown>
  }
  /** State that repeating a `natural` operation must leave as it is. Default: the twin's whole state. */
  readonly snapshot?: (twin: T) => unknown
}

export interface Sample<T extends Twin> {
  /** The input, or how to get it: prepare what the operation needs at the twin. Asked anew for each test. */
  readonly input: (subject: Subject<T>) => unknown
  /** How many effects one done call has at the provider. Default: 0 for GET, else 1. */
  readonly effects?: number
  /** Why any 2xx is an answer of this provider, whatever its body. Default: a body that is no answer is refused. */
  readonly anyBody?: string
  /** Why the twin may be left changed by repeating a `natural` operation. Default: it may not. */
  readonly mayDiffer?: string
  /**
   * Why the look-up takes what another call did for its own work: because it asks for a state that either call
   * reaches, or because the provider shows nothing by which the two could be told apart. Default: it does not.
   */
  readonly lookupTakesOthers?: string
}

/** A connector, a running twin and a clock. */
export interface Subject<T extends Twin = Twin> {
  readonly twin: T
  readonly clock: FakeClock
  /** Sends one operation. Each call has a new idempotency key unless one is given. */
  call(operation: string, input: unknown, options?: { key?: string }): Promise<Called>
  /** Asks an operation's look-up whether it was done. Gives the output, or undefined. */
  lookUp(operation: string, input: unknown, options: { key: string; begunAt?: number }): Promise<unknown>
  stop(): Promise<void>
}

export interface Called {
  readonly key: string
  readonly input: unknown
  readonly answer: ProviderAnswer
  readonly classification: ReturnType<typeof classify>
  /** The output after its contract; throws where it fails. */
  output(): Promise<unknown>
}

export async function startSubject<T extends Twin>(options: ConformanceOptions<T>): Promise<Subject<T>> {
  const { connector } = options
  const clock = createFakeClock()
  const twin = options.twin(clock)
  await twin.start()
  let keys = 0

  const operationOf = (name: string): AnyOperation => {
    const operation = connector.operationsByName.get(name)
    if (!operation) throw new Error(`The connector ${connector.name} has no operation ${name}.`)
    return operation
  }
  const asking = (name: string, kind: 'send' | 'lookup', key: string, begunAt: number): Asking => ({
    connector,
    name,
    operation: operationOf(name),
    baseUrl: twin.url,
    settings: options.settings ?? {},
    key,
    begunAt,
    kind,
  })
  /** Authorized as the vault does it: Standard Webhooks carries the idempotency key as `webhook-id`. */
  const send = (plain: WireRequest, key: string): Promise<ProviderAnswer> => {
    const signed: Record<string, string> =
      connector.auth.kind === 'standard_webhooks' ? { 'webhook-id': key } : {}
    const wire = { ...plain, headers: { ...plain.headers, ...signed } }
    return exchange({ ...wire, headers: { ...wire.headers, ...options.authorize(twin, wire) } })
  }

  return {
    twin,
    clock,
    async call(name, given, { key = `conformance-${++keys}` } = {}) {
      const operation = operationOf(name)
      const input = await checked(operation.input, given, `The sample input of ${name}`)
      const answer = await send(await wireRequest(asking(name, 'send', key, clock.now()), input), key)
      return {
        key,
        input,
        answer,
        classification: classify(connector, operation, answer, clock.now()),
        output: () => checked(operation.output, rawOutput(operation, answer, input), `The answer of ${name}`),
      }
    },
    async lookUp(name, given, { key, begunAt = clock.now() }) {
      const operation = operationOf(name)
      const { idempotency } = operation
      const lookup = idempotency.kind === 'key' ? idempotency.afterLifetime : idempotency
      if (lookup?.kind !== 'lookup') throw new Error(`${name} has no look-up.`)
      const input = await checked(operation.input, given, `The sample input of ${name}`)
      const answer = await send(await wireRequest(asking(name, 'lookup', key, begunAt), input), key)
      const context = { settings: options.settings ?? {}, idempotencyKey: key, begunAt }
      const found: unknown = lookup.found(answer, input, context)
      return found === undefined
        ? undefined
        : checked(operation.output, found, `What the look-up of ${name} found`)
    },
    stop: () => twin.stop(),
  }
}
