import type { AuthScheme } from './auth.ts'
import type { EventDefinition, EventMap, EventTrigger } from './events.ts'
import type { LimitDefinition, LimitHeaders } from './limits.ts'
import {
  isOperation,
  operationsOf,
  type AnyOperation,
  type Classification,
  type OperationTree,
  type ProviderAnswer,
  type Settings,
} from './operation.ts'
import type { LostExchange, LostMeaning } from './retry.ts'
import type { WebhookDefinition } from './webhooks.ts'
import { UsageError } from '../base/index.ts'

export interface ConnectorDefinition<Operations extends OperationTree, Events extends EventMap> {
  /** `^[a-z][a-z0-9-]*$`, as in `trestle/connectors/<name>`. */
  readonly name: string
  /** As people write it: `'QuickBooks Online'`. */
  readonly title: string
  /**
   * The provider's API, without a trailing slash. `{name}` stands for one of the `settings`, where each account has an
   * address of its own: `'https://{server}.api.mailchimp.com'`. A connection may set another (`baseUrl`), such as a
   * sandbox or a twin.
   */
  readonly baseUrl: string
  readonly auth: AuthScheme
  /** Names and meanings of the non-secret settings that a connection must have. */
  readonly settings?: Readonly<Record<string, string>>
  readonly operations: Operations
  readonly events: Events
  readonly webhooks?: WebhookDefinition
  /** What an answer means, before the defaults are asked. Return `undefined` for what the defaults handle. */
  readonly classify?: (answer: ProviderAnswer, now: number) => Classification | undefined
  /**
   * What it means that no whole answer came, by phase and code. Return `undefined` for what the defaults handle: what
   * was not sent is tried again; what was sent is in doubt, or tried again where repeating is harmless.
   */
  readonly classifyLost?: (lost: LostExchange, now: number) => LostMeaning | undefined
  readonly limits: readonly LimitDefinition[]
  /** The provider's own headers about its limits, where it has any beyond the customary ones. */
  readonly limitHeaders?: readonly LimitHeaders[]
  /** Dotted name of the cheapest read and an input for it: used by `connections test` and by probes. */
  readonly check: { readonly operation: string; readonly input: unknown }
  /** Headers sent with every request, such as an API version. */
  readonly headers?: Readonly<Record<string, string>>
}

/** Methods that a flow calls; each is a durable step. */
export interface Connector<
  Operations extends OperationTree = OperationTree,
  Events extends EventMap = EventMap,
> extends ConnectorDefinition<Operations, Events> {
  /** Operations by dotted name. */
  readonly operationsByName: ReadonlyMap<string, AnyOperation>
  /** A trigger for one of the connector's event types. */
  on<Type extends keyof Events & string>(
    type: Type,
    options?: { connection?: string },
  ): EventTrigger<Events[Type] extends EventDefinition<infer Data> ? Data : never>
  /** A connection for `trestle.config.ts`. */
  connect(options: ConnectOptions): ConnectionDefinition
}

// oxlint-disable-next-line typescript/no-explicit-any -- a connector of any operations and events
export type AnyConnector = Connector<any, any>

export interface ConnectOptions {
  /** Another base URL than the connector's: a sandbox, or a twin. */
  readonly baseUrl?: string
  /**
   * Another OAuth token URL than the connector's, where it is not below `baseUrl`: a twin of QuickBooks. Absolute, or a
   * path below `baseUrl`. Refresh tokens and the client's secret are sent there.
   */
  readonly tokenUrl?: string
  readonly settings?: Settings
  /**
   * Secrets by field name, usually `env('STRIPE_API_KEY')`. Left out, they come from the vault
   * (`trestle connections add`).
   */
  readonly secrets?: Readonly<Record<string, Secret | undefined>>
  /** Secrets that webhooks are verified with; several at once during rotation. */
  readonly webhookSecrets?: readonly (Secret | undefined)[]
  /** The endpoint's path: `/webhooks/<endpoint>`. Default: the connection's name. */
  readonly endpoint?: string
  /** Allows calls to private and loopback addresses, for twins and on-premises systems. Default false. */
  readonly allowPrivateNetwork?: boolean
}

/** One tenant's link to a provider, as declared in the configuration. */
export interface ConnectionDefinition extends ConnectOptions {
  readonly connector: AnyConnector
}

/** A secret's value, or where it is read from at start. */
export type Secret = string | { readonly env: string }

/** A secret from an environment variable, read when the platform starts. */
export function env(name: string): Secret {
  return { env: name }
}

/** Declares a connector and checks the declaration. Throws a {@link UsageError} that names the mistake. */
export function defineConnector<const Operations extends OperationTree, const Events extends EventMap>(
  definition: ConnectorDefinition<Operations, Events>,
): Connector<Operations, Events> {
  const refuse = (what: string): never => {
    throw new UsageError('connector_invalid', `Connector "${definition.name}": ${what}`)
  }
  if (!/^[a-z][a-z0-9-]*$/.test(definition.name))
    refuse('its name must be lower-case letters, digits and hyphens, beginning with a letter.')
  if (definition.baseUrl.endsWith('/')) refuse('write baseUrl without a trailing slash.')
  for (const [, setting = ''] of definition.baseUrl.matchAll(SETTING_IN_URL))
    if (!Object.hasOwn(definition.settings ?? {}, setting))
      refuse(`its baseUrl names the setting "${setting}", which is not declared.`)
  const operationsByName = operationsOf(definition.operations)
  if (!operationsByName.has(definition.check.operation))
    refuse(`its check names the operation "${definition.check.operation}", which it does not have.`)
  const limitNames = new Set(definition.limits.map((limit) => limit.name))
  checkLimits(definition.limits, operationsByName, refuse)
  for (const { limit } of definition.limitHeaders ?? [])
    if (!limitNames.has(limit)) refuse(`its limitHeaders name the limit "${limit}", which is not declared.`)
  for (const [name, operation] of operationsByName) {
    for (const limit of operation.limits ?? [])
      if (!limitNames.has(limit))
        refuse(`operation ${name} counts against the limit "${limit}", which is not declared.`)
  }
  return {
    ...definition,
    operationsByName,
    on(type, options = {}) {
      const event = definition.events[type]
      if (!event)
        return refuse(`it has no event "${type}". It has: ${Object.keys(definition.events).join(', ')}.`)
      return {
        kind: 'event',
        connector: definition.name,
        type,
        definition: event,
        ...(options.connection === undefined ? {} : { connection: options.connection }),
      }
    },
    connect(options) {
      return { ...options, connector: this as AnyConnector }
    },
  }
}

const SETTING_IN_URL = /\{([^{}]*)\}/g

/**
 * The connector's base URL for a connection with these settings. A setting stands within one label of a host name, so
 * that nothing in it can lead to another host: one that is missing or holds anything but letters, digits and hyphens is
 * left as `{name}`, which is no URL.
 */
export function baseUrlFor({ baseUrl }: Pick<AnyConnector, 'baseUrl'>, settings: Settings): string {
  return baseUrl.replaceAll(SETTING_IN_URL, (whole, name: string) => {
    const value = Object.hasOwn(settings, name) ? settings[name]! : ''
    return isPartOfHost(value) ? value : whole
  })
}

/** Whether a setting can stand in a base URL: within one label of its host's name. */
export function isPartOfHost(setting: string): boolean {
  return /^[a-z0-9-]+$/i.test(setting)
}

function checkLimits(
  limits: readonly LimitDefinition[],
  operations: ReadonlyMap<string, AnyOperation>,
  refuse: (what: string) => never,
): void {
  for (const { name, allowed, windowMs, concurrency, cost = {} } of limits) {
    if (!(Number.isInteger(allowed) && allowed >= 1 && windowMs >= 1))
      refuse(`the limit "${name}" must allow a whole number of calls in a window of at least a millisecond.`)
    if (concurrency !== undefined && !(Number.isInteger(concurrency) && concurrency >= 1))
      refuse(`the limit "${name}" must have a whole number of calls in flight.`)
    for (const [operation, points] of Object.entries(cost)) {
      if (!operations.has(operation))
        refuse(`the limit "${name}" has a cost for the operation "${operation}", which it does not have.`)
      if (!(Number.isInteger(points) && points >= 0))
        refuse(`the limit "${name}": the cost of ${operation} must be a whole number of points.`)
    }
  }
}

export { isOperation }
