import {
  learnedSettingsOf,
  secretFieldsOf,
  type AnyConnector,
  type Config,
  type ConnectionDefinition,
} from '../../define/index.ts'
import type { StandIn } from '../standIn.ts'

/** No name below `.invalid` has an address (RFC 6761): what is sent there goes nowhere. */
const NOWHERE = 'no-stand-in.invalid'

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
    ...(standIn ? { ...standIn.connection, allowPrivateNetwork: true } : connectedToNothing(connector)),
  }
}

/** Whole, so that the platform starts with it, and made up: nothing in it opens anything. */
function connectedToNothing(connector: AnyConnector): Omit<ConnectionDefinition, 'connector'> {
  const { auth, settings = {}, webhooks } = connector
  const url = auth.kind === 'smtp_login' ? `smtps://${NOWHERE}:465` : `https://${NOWHERE}`
  const isVerified = webhooks !== undefined && webhooks.signature !== 'none'
  return {
    baseUrl: url,
    ...(auth.kind === 'oauth2' && { tokenUrl: `${url}/token` }),
    settings: Object.fromEntries(
      [...Object.keys(settings), ...learnedSettingsOf(auth)].map((key) => [key, 'none']),
    ),
    secrets: Object.fromEntries(secretFieldsOf(auth).map((field) => [field, madeUp(field)])),
    ...(isVerified && { webhookSecrets: ['none'] }),
  }
}

function madeUp(field: string): string {
  return field === 'signingSecret' ? `whsec_${Buffer.alloc(24).toString('base64')}` : 'none'
}
