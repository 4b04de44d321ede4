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
  const set = declaredFields(declared, environment)
  const declaredSecrets = Object.entries(declared?.secrets ?? {}).filter(([field]) => set.includes(field))
  const declaredWebhooks = declared?.webhookSecrets?.filter((secret) => isSet(secret, environment))
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

/** Fields that trestle.config.ts gives, as the environment is now. */
export function declaredFields(
  declared: ConnectionDefinition | undefined,
  environment: NodeJS.ProcessEnv,
): string[] {
  return Object.entries(declared?.secrets ?? {}).flatMap(([field, secret]) =>
    isSet(secret, environment) ? [field] : [],
  )
}

function isSet(secret: Secret | undefined, environment: NodeJS.ProcessEnv): secret is Secret {
  return secret !== undefined && (typeof secret === 'string' || (environment[secret.env] ?? '') !== '')
}
