import { ALERT_CONNECTIONS, checkAlerts, type AlertsDefinition } from './alerts.ts'
import type { ConnectionDefinition } from './connector.ts'
import type { AnyFlow } from './flow.ts'
import { durationMs, MINUTE, UsageError, type Duration } from '../base/index.ts'

/** What `trestle.config.ts` exports. */
export interface Config {
  /** Connections of the default tenant by name. */
  readonly connections: Readonly<Record<string, ConnectionDefinition>>
  readonly flows: readonly AnyFlow[]
  /**
   * The address that providers reach this installation at, such as `https://hooks.example.com`, without a slash at the
   * end; a path before `/webhooks/` may be part of it. Twilio and HubSpot sign it, so it must be exact. Default: the
   * address that the node listens on, such as `http://127.0.0.1:3000`; commands that listen nowhere then write
   * `http://localhost:3000`.
   */
  readonly publicUrl?: string
  /** Who is told of incidents. Default: nobody; `trestle incidents` and the API show them. */
  readonly alerts?: AlertsDefinition
  /**
   * After how long a connection that nobody calls over is checked by its connector's cheapest read, so that a credential
   * that has ended is known before it is needed. Default: `'24 h'`; at least a minute; `false`: never.
   */
  readonly checkIdleConnectionsAfter?: Duration | false
  readonly isConfig?: true
}

/** Declares the configuration and checks what can be checked without starting. */
export function defineConfig(config: Config): Config {
  const refuse = (what: string): never => {
    throw new UsageError('config_invalid', what)
  }
  if (typeof config?.connections !== 'object')
    refuse(
      '"connections" must be an object of connections by name, such as { stripe: stripe.connect({ … }) }.',
    )
  if (!Array.isArray(config.flows)) refuse('"flows" must be a list of flows, such as [paymentReceived].')
  if (config.publicUrl !== undefined && !/^https?:\/\/[^/?#\s]+(\/[^?#\s]*[^/?#\s])?$/.test(config.publicUrl))
    refuse(
      `"publicUrl" is "${config.publicUrl}"; write the address that providers reach this installation at, without a trailing slash: 'https://hooks.example.com'.`,
    )
  if (config.alerts !== undefined) checkAlerts(config.alerts)
  const { checkIdleConnectionsAfter: idle } = config
  if (idle !== undefined && idle !== false && durationMs(idle) < MINUTE)
    refuse('"checkIdleConnectionsAfter" must be at least a minute, or false.')
  for (const [name, connection] of Object.entries(config.connections)) {
    if (!/^[a-z][a-z0-9-]*$/.test(name))
      refuse(
        `The connection "${name}": names are lower-case letters, digits and hyphens, beginning with a letter.`,
      )
    if (Object.values<string>(ALERT_CONNECTIONS).includes(name))
      refuse(`The connection "${name}" has the name of the one that alerts go over. Give it another.`)
    if (connection?.connector === undefined)
      refuse(`The connection "${name}" must be made by a connector, such as stripe.connect({ … }).`)
  }
  const seen = new Set<string>()
  for (const flow of config.flows) {
    if (!flow?.isFlow) refuse('"flows" has an entry that defineFlow did not make.')
    // Several versions of one flow may stand side by side, until the runs of the older ones are done.
    const version = `${flow.name} ${flow.version ?? 1}`
    if (seen.has(version))
      refuse(
        `Two flows are named "${flow.name}". Names must be unique, unless one is a newer version of the other.`,
      )
    seen.add(version)
    if (flow.on.kind === 'cron') continue
    const over = Object.entries(config.connections)
      .filter(([, connection]) => connection.connector.name === flow.on.connector)
      .map(([name]) => name)
    if (flow.on.kind === 'poll' && flow.on.connection === undefined && over.length > 1)
      refuse(
        `The flow "${flow.name}" polls ${flow.on.connector}, of which there are ${over.length} connections: ${over.join(', ')}. Say which: poll(…, { connection: '${over[0]}' }).`,
      )
    if (over.length === 0)
      refuse(
        `The flow "${flow.name}" ${flow.on.kind === 'poll' ? `polls ${flow.on.connector}` : `starts on ${flow.on.connector} events`}, but no connection of ${flow.on.connector} is declared. Add one to "connections".`,
      )
  }
  return { ...config, isConfig: true }
}
