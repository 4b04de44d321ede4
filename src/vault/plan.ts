import { mailServerOf } from '../base/index.ts'
import {
  ALERT_CONNECTIONS,
  authFor,
  baseUrlFor,
  completeSchemes,
  grantFieldOf,
  isAuthorizedByPerson,
  learnedSettingsOf,
  schemesOf,
  secretFieldsOf,
  type AuthScheme,
  type ConnectionDefinition,
  type OAuth2Scheme,
  type Secret,
  type Settings,
} from '../define/index.ts'

/** A connection as it was declared or given, with its secrets read. Nothing of it is written yet. */
export interface ConnectionPlan {
  readonly name: string
  readonly connector: string
  readonly title: string
  /** As the connector declares it, alternatives and all. */
  readonly auth: AuthScheme
  /** Without a trailing slash. */
  readonly baseUrl: string
  /** Where tokens are asked for instead of the connector's token URL. */
  readonly tokenUrl: string | undefined
  readonly settings: Settings
  /** Settings that it must have, with their meaning, and that its authorization brings where they are left out. */
  readonly learnedSettings: readonly (readonly [name: string, meaning: string])[]
  readonly allowPrivateNetwork: boolean
  readonly secrets: ReadonlyMap<string, string>
  /** `undefined`: not spoken of, so that those in the vault stay. */
  readonly webhookSecrets: readonly string[] | undefined
  /** The endpoint's path below `/webhooks/`. */
  readonly endpointPath: string
  /** Whether webhooks are verified with a secret, need none, or are not received at all. */
  readonly webhooks: 'secret' | 'unsigned' | 'none'
  readonly endpointIsExplicit: boolean
}

/** What the database has of a connection. */
export interface ExistingConnection {
  readonly name: string
  readonly connector: string
  readonly path: string | undefined
  /** Names of its sealed fields. */
  readonly fields: readonly string[]
  /** Settings that its authorization brought. */
  readonly learned: Settings
}

export interface PlanResult {
  readonly plan: ConnectionPlan
  /** What is wrong with it, each in a sentence that says how to mend it. */
  readonly problems: readonly string[]
}

export type Environment = Readonly<Record<string, string | undefined>>

/** Most webhook secrets of one connection at once. */
export const MOST_WEBHOOK_SECRETS = 10

export const webhookSecretField = (index: number): string => `webhookSecret.${index}`

export function isWebhookSecretField(field: string): boolean {
  return field.startsWith('webhookSecret.')
}

/** Every secret field that a scheme knows, those that may be left out included. */
function fieldsOfScheme(scheme: AuthScheme): readonly string[] {
  return isAuthorizedByPerson(scheme)
    ? [...secretFieldsOf(scheme), 'accessToken', 'expiresAt']
    : secretFieldsOf(scheme)
}

/** The fields of the other schemes, which are no credentials of a connection that uses this one. */
export function fieldsOfOtherSchemes(auth: AuthScheme, used: AuthScheme): string[] {
  const own = fieldsOfScheme(used)
  return schemesOf(auth)
    .flatMap(fieldsOfScheme)
    .filter((field) => !own.includes(field))
}

/** Reads a declaration and finds every mistake that shows without the database. */
export function planConnection(
  name: string,
  definition: ConnectionDefinition,
  environment: Environment,
): PlanResult {
  const { connector } = definition
  const problems: string[] = []
  const complain = (what: string): void => {
    problems.push(`Connection "${name}": ${what}`)
  }
  const readSecret = (secret: Secret | undefined, field: string): string | undefined => {
    if (secret === undefined) return undefined
    if (typeof secret === 'string') return checkedSecret(secret, field, 'was given')
    const value = environment[secret.env]
    if (value !== undefined && value !== '')
      return checkedSecret(value, field, `comes from the environment variable ${secret.env}`)
    complain(
      `its secret "${field}" comes from the environment variable ${secret.env}, which is not set. Set it, or leave the field out and give it with: trestle connections add ${name}`,
    )
    return undefined
  }
  const checkedSecret = (value: string, field: string, origin: string): string | undefined => {
    const fault = faultOfSecret(field, value)
    if (fault === undefined) return value
    complain(`its secret "${field}" ${origin}, and ${fault}`)
    return undefined
  }

  const allowed = [...new Set(schemesOf(connector.auth).flatMap(fieldsOfScheme))]
  const secrets = new Map<string, string>()
  for (const [field, secret] of Object.entries(definition.secrets ?? {})) {
    if (!allowed.includes(field))
      complain(
        `${connector.title} has no secret "${field}". It has: ${allowed.join(', ') || 'none'}. Webhook secrets go to "webhookSecrets".`,
      )
    const value = readSecret(secret, field)
    if (value !== undefined) secrets.set(field, value)
  }
  const ways = completeSchemes(connector.auth, secrets.keys())
  if (ways.length > 1)
    complain(
      `it has the secrets of two ways to authorize: ${ways.map((way) => secretFieldsOf(way).join(', ')).join(', or ')}. Leave one out.`,
    )

  const webhookSecrets = definition.webhookSecrets?.flatMap((secret, index) => {
    const value = readSecret(secret, webhookSecretField(index))
    return value === undefined ? [] : [value]
  })
  if ((webhookSecrets?.length ?? 0) > MOST_WEBHOOK_SECRETS)
    complain(`it has more than ${MOST_WEBHOOK_SECRETS} webhook secrets. Remove those that are rotated out.`)

  const learned = learnedSettingsOf(connector.auth)
  for (const [setting, meaning] of Object.entries(connector.settings ?? {}))
    if (!definition.settings?.[setting] && !learned.includes(setting))
      complain(`it needs the setting "${setting}" (${meaning}). Add it to "settings".`)

  const baseUrl = (definition.baseUrl ?? baseUrlFor(connector, definition.settings ?? {})).replace(/\/+$/, '')
  const isMail = connector.auth.kind === 'smtp_login'
  // What its authorization brings is put in when it is known; without one, the setting itself is missed.
  const settled = baseUrl.replaceAll(/\{([^{}]*)\}/g, (braces, name: string) =>
    learned.includes(name) && definition.settings?.[name] === undefined ? 'learned' : braces,
  )
  if (NOT_IN_URLS.test(baseUrl))
    complain('its base URL has white space or a control character in it. Write it again, without.')
  else if (/[{}]/.test(settled))
    complain(
      `its base URL "${baseUrl}" needs the setting in braces, as letters, digits and hyphens alone. Add it to "settings".`,
    )
  else if (isMail ? mailServerOf(baseUrl) === undefined : !isHttpUrl(settled))
    complain(
      `its base URL "${baseUrl}" is not one. Write for example "${isMail ? 'smtps://smtp.example.com:465' : 'https://api.example.com'}".`,
    )

  const { tokenUrl } = definition
  const oauth = schemesOf(connector.auth).find((scheme) => scheme.kind === 'oauth2')
  if (oauth !== undefined && !isHttpUrl(tokenUrlOf(oauth, { baseUrl: settled, tokenUrl })))
    complain(
      `the token URL "${tokenUrl ?? oauth.tokenUrl}" of ${connector.title} is neither absolute nor a path that begins with "/".`,
    )
  if (oauth === undefined && tokenUrl !== undefined)
    complain(`it has a token URL, but ${connector.title} is not authorized by OAuth 2.0. Remove "tokenUrl".`)

  const endpointPath = definition.endpoint ?? name
  if (!/^[a-z0-9][a-z0-9._-]{0,99}$/i.test(endpointPath))
    complain(
      `its endpoint "${endpointPath}" is not a path: write at most 100 letters, digits, dots, hyphens and underscores, such as "stripe".`,
    )
  if (definition.endpoint !== undefined && connector.webhooks === undefined)
    complain(`it has an endpoint, but ${connector.title} sends no webhooks. Remove "endpoint".`)

  return {
    problems,
    plan: {
      name,
      connector: connector.name,
      title: connector.title,
      auth: connector.auth,
      baseUrl,
      tokenUrl,
      settings: definition.settings ?? {},
      learnedSettings: Object.entries(connector.settings ?? {}).filter(([name]) => learned.includes(name)),
      allowPrivateNetwork: definition.allowPrivateNetwork ?? false,
      secrets,
      webhookSecrets,
      endpointPath,
      webhooks:
        connector.webhooks === undefined
          ? 'none'
          : connector.webhooks.signature === 'none'
            ? 'unsigned'
            : 'secret',
      endpointIsExplicit: definition.endpoint !== undefined,
    },
  }
}

/** What is wrong with a plan in the light of what the database has. */
export function problemsWithExisting(
  plan: ConnectionPlan,
  existing: ExistingConnection | undefined,
): readonly string[] {
  const problems: string[] = []
  const complain = (what: string): void => {
    problems.push(`Connection "${plan.name}": ${what}`)
  }
  if (existing !== undefined && existing.connector !== plan.connector) {
    complain(
      `it is a connection to ${existing.connector} already, with its own history. Give the one to ${plan.connector} another name.`,
    )
    return problems
  }
  for (const field of missingFields(plan, existing))
    complain(
      `it has no secret "${field}". Declare it in ${placeOf(plan.name, field)}, or give it with: trestle connections add ${plan.name}${insteadOf(plan.auth)}`,
    )
  for (const [setting, meaning] of missingSettings(plan, existing))
    complain(`it needs the setting "${setting}" (${meaning}). Add it to "settings".`)
  if (plan.endpointIsExplicit && plan.webhooks === 'secret' && !willVerify(plan, existing))
    complain(
      `it has an endpoint, but no secret to verify webhooks with. Declare "webhookSecrets", or give one with: trestle connections add ${plan.name}`,
    )
  return problems
}

/** Where trestle.config.ts has a secret, in words. */
function placeOf(name: string, field: string): string {
  return Object.values<string>(ALERT_CONNECTIONS).includes(name)
    ? '"alerts"'
    : `"secrets", for example ${field}: env('…')`
}

/** Fields that are neither planned nor sealed. An OAuth grant may be missing: it comes with the authorization. */
function missingFields(plan: ConnectionPlan, existing: ExistingConnection | undefined): readonly string[] {
  const held = new Set([...plan.secrets.keys(), ...(existing?.fields ?? [])])
  const scheme = authFor(plan.auth, held)
  const grantField = scheme.kind === 'oauth2' ? grantFieldOf(scheme) : undefined
  return secretFieldsOf(scheme).filter((field) => field !== grantField && !held.has(field))
}

/** Learned settings that a grant given by hand leaves unknown. Without a grant they come with the authorization. */
function missingSettings(
  plan: ConnectionPlan,
  existing: ExistingConnection | undefined,
): ConnectionPlan['learnedSettings'] {
  const held = new Set([...plan.secrets.keys(), ...(existing?.fields ?? [])])
  if (completeSchemes(plan.auth, held).length === 0) return []
  return plan.learnedSettings.filter(([name]) => !plan.settings[name] && !existing?.learned[name])
}

/** Which secrets would do as well, in words. */
function insteadOf(auth: AuthScheme): string {
  return schemesOf(auth)
    .slice(1)
    .map((scheme) => `. Instead of OAuth it may have: ${secretFieldsOf(scheme).join(', ')}`)
    .join('')
}

/** What is wrong with the endpoints: two connections cannot have one path. */
export function problemsWithPaths(
  plans: readonly ConnectionPlan[],
  existing: readonly ExistingConnection[],
): readonly string[] {
  const problems: string[] = []
  const ownerOf = new Map(existing.flatMap((one) => (one.path === undefined ? [] : [[one.path, one.name]])))
  for (const plan of plans) {
    const had = existing.find((one) => one.name === plan.name)
    if (!willVerify(plan, had)) continue
    const owner = ownerOf.get(plan.endpointPath)
    if (owner !== undefined && owner !== plan.name)
      problems.push(
        `Connection "${plan.name}": the endpoint /webhooks/${plan.endpointPath} belongs to the connection "${owner}". Give this one another "endpoint", or remove the other first with: trestle connections remove ${owner}`,
      )
    ownerOf.set(plan.endpointPath, plan.name)
  }
  return problems
}

/** An endpoint exists only where its webhooks can be verified, or need no verification. */
export function canVerify(plan: ConnectionPlan, fields: readonly string[]): boolean {
  return plan.webhooks === 'secret' ? fields.some(isWebhookSecretField) : plan.webhooks === 'unsigned'
}

function willVerify(plan: ConnectionPlan, existing: ExistingConnection | undefined): boolean {
  const fields = plan.webhookSecrets?.map((_, index) => webhookSecretField(index)) ?? existing?.fields ?? []
  return canVerify(plan, fields)
}

/** Secrets that are sent in a header as they are. */
const HEADER_FIELDS: ReadonlySet<string> = new Set(['token', 'apiKey', 'accessToken'])

/** What makes a secret unusable where it goes. The value itself is never in the text. */
export function faultOfSecret(field: string, value: string): string | undefined {
  if (value === '') return 'it is empty.'
  if (value !== value.trim())
    return 'it begins or ends with white space, as when a line break was copied along. Remove it.'
  // oxlint-disable-next-line no-control-regex -- control characters are what is looked for
  if (/[\u0000-\u001f\u007f]/.test(value)) return 'it has a control character in it. Copy it again.'
  if (HEADER_FIELDS.has(field) && !/^[\x20-\x7e]+$/.test(value))
    return 'it has a character that cannot stand in an HTTP header. Copy it again.'
  if (field === 'username' && value.includes(':'))
    return 'it has a colon in it, which a user name cannot have (RFC 7617, 2).'
  if (field === 'signingSecret' && signingKeyOf(value) === undefined)
    return 'it is no Standard Webhooks secret: "whsec_" and base64 of 24 to 64 bytes. Make one with: echo "whsec_$(openssl rand -base64 32)"'
  if (field === 'expiresAt' && Number.isNaN(Date.parse(value)))
    return 'it is no time. Write ISO 8601, for example 2026-11-22T14:00:00Z.'
  return undefined
}

/** The key of a Standard Webhooks secret: base64 behind an optional `whsec_`, 24 to 64 bytes. */
export function signingKeyOf(secret: string): Buffer | undefined {
  const text = secret.startsWith('whsec_') ? secret.slice('whsec_'.length) : secret
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(text)) return undefined
  const key = Buffer.from(text, 'base64')
  return key.length >= 24 && key.length <= 64 ? key : undefined
}

/** The token endpoint, the connection's own before the connector's: absolute, or below the connection's base URL. */
export function tokenUrlOf(
  scheme: OAuth2Scheme,
  connection: { readonly baseUrl: string; readonly tokenUrl: string | undefined },
): string {
  const url = connection.tokenUrl ?? scheme.tokenUrl
  return url.startsWith('/') ? `${connection.baseUrl}${url}` : url
}

/** The parser of URLs takes these: it drops them, or encodes them. No address has them on purpose. */
// oxlint-disable-next-line no-control-regex -- control characters are what is looked for
const NOT_IN_URLS = /[\u0000-\u0020\u007f]/

function isHttpUrl(text: string): boolean {
  if (NOT_IN_URLS.test(text)) return false
  try {
    const url = new URL(text)
    return /^https?:$/.test(url.protocol) && url.username === '' && url.password === '' && url.search === ''
  } catch {
    return false
  }
}
