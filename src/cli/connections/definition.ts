import type { AnyConnector, ConnectionDefinition, Secret } from '../../define/index.ts'
import type { CollectedSecrets } from '../secrets/collectSecrets.ts'

export interface DefinitionParts {
  readonly connector: AnyConnector
  /** What trestle.config.ts says of it. */
  readonly declared: ConnectionDefinition | undefined
  readonly collected: CollectedSecrets
  readonly settings: Readonly<Record<string, string>>
  readonly baseUrl: string | undefined
  readonly endpoint: string | undefined
  readonly allowPrivateNetwork: boolean | undefined
  readonly environment: NodeJS.ProcessEnv
}

/** A connection as the vault takes it: what was given goes before what is declared. */
export function definitionOf(parts: DefinitionParts): ConnectionDefinition {
  const { connector, declared, collected, environment } = parts
  const isSet = (secret: Secret | undefined): secret is Secret =>
    secret !== undefined && (typeof secret === 'string' || (environment[secret.env] ?? '') !== '')
  const declaredSecrets = Object.entries(declared?.secrets ?? {}).filter(([, secret]) => isSet(secret))
  const declaredWebhooks = declared?.webhookSecrets?.filter(isSet)
  const webhookSecrets = collected.webhookSecrets ?? (declaredWebhooks?.length ? declaredWebhooks : undefined)
  const settings = { ...declared?.settings, ...parts.settings }
  return {
    ...declared,
    connector,
    ...(parts.baseUrl === undefined ? {} : { baseUrl: parts.baseUrl }),
    // Its endpoint is made once there is a secret to verify with; until then it would be refused.
    endpoint: parts.endpoint ?? (webhookSecrets === undefined ? undefined : declared?.endpoint),
    ...(parts.allowPrivateNetwork === undefined ? {} : { allowPrivateNetwork: parts.allowPrivateNetwork }),
    settings,
    secrets: { ...Object.fromEntries(declaredSecrets), ...collected.secrets },
    webhookSecrets,
  }
}
