import type { Config, ConnectionDefinition } from '../../define/index.ts'
import type { StandIn } from '../standIn.ts'

/** No name below `.invalid` has an address (RFC 6761): what is sent there goes nowhere. */
const NOWHERE = 'https://no-stand-in.invalid'

/**
 * The user's configuration with every connection pointed at its stand-in. Addresses, settings and secrets of the real
 * ones are left out, also where there is no stand-in: nothing in a proof can reach a provider. Nor is anybody told of
 * what goes wrong in it.
 */
export function provenConfig(
  config: Config,
  standIns: ReadonlyMap<string, StandIn>,
  publicUrl: string,
): Config {
  const connections = Object.entries(config.connections).map(([name, declared]) => [
    name,
    provenConnection(declared, standIns.get(name)),
  ])
  const { alerts: _, ...declared } = config
  return {
    ...declared,
    connections: Object.fromEntries(connections) as Record<string, ConnectionDefinition>,
    publicUrl,
    isConfig: true,
  }
}

function provenConnection(
  { connector, endpoint }: ConnectionDefinition,
  standIn: StandIn | undefined,
): ConnectionDefinition {
  return {
    connector,
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(standIn
      ? { ...standIn.connection, allowPrivateNetwork: true }
      : {
          baseUrl: NOWHERE,
          tokenUrl: `${NOWHERE}/token`,
          settings: Object.fromEntries(Object.keys(connector.settings ?? {}).map((key) => [key, 'none'])),
        }),
  }
}
