import {
  authFor,
  grantFieldOf,
  isAuthorizedByPerson,
  schemesOf,
  secretFieldsOf,
  type AnyConnector,
  type AuthScheme,
} from '../../define/index.ts'
import { UsageError } from '../../base/index.ts'
import { askHidden, canAsk, type Terminal } from './prompt.ts'
import { readSecret, type WantedSecret } from './sources.ts'

/** The field name under which `--secret` takes what webhooks are verified with; may be given several times. */
export const WEBHOOK_SECRET = 'webhookSecret'

export interface CollectedSecrets {
  readonly secrets: Readonly<Record<string, string>>
  /** `undefined`: not spoken of, so that those in the vault stay. */
  readonly webhookSecrets: readonly string[] | undefined
}

export interface Collecting {
  readonly connector: AnyConnector
  readonly wanted: readonly WantedSecret[]
  /** Fields that the vault or the configuration has already. */
  readonly held: readonly string[]
  readonly terminal: Terminal
  readonly environment: NodeJS.ProcessEnv
}

/** Reads what the options name; where they name nothing, asks for everything that the connection still needs. */
export async function collectSecrets(collecting: Collecting): Promise<CollectedSecrets> {
  const { connector, wanted } = collecting
  refuseUnknownFields(connector, wanted)
  return wanted.length > 0 ? readWanted(collecting) : askForMissing(collecting)
}

function refuseUnknownFields(connector: AnyConnector, wanted: readonly WantedSecret[]): void {
  const known = [...fieldsOf(connector), ...(verifiesWebhooks(connector) ? [WEBHOOK_SECRET] : [])]
  for (const { field } of wanted)
    if (!known.includes(field))
      throw new UsageError(
        'secret_unknown',
        `${connector.title} has no secret "${field}". It has: ${known.join(', ') || 'none'}.`,
      )
}

function fieldsOf({ auth }: AnyConnector): string[] {
  const fields = schemesOf(auth).flatMap(secretFieldsOf)
  return [...new Set(auth.kind === 'oauth2' ? [...fields, 'accessToken', 'expiresAt'] : fields)]
}

async function readWanted({ connector, wanted, ...from }: Collecting): Promise<CollectedSecrets> {
  const secrets: Record<string, string> = {}
  const webhookSecrets: string[] = []
  for (const one of wanted) {
    const value = await readSecret(one, { ...from, question: `${connector.title}, ${one.field}` })
    if (one.field === WEBHOOK_SECRET) webhookSecrets.push(value)
    else secrets[one.field] = value
  }
  return { secrets, webhookSecrets: webhookSecrets.length > 0 ? webhookSecrets : undefined }
}

async function askForMissing({ connector, held, terminal }: Collecting): Promise<CollectedSecrets> {
  const missing = secretFieldsOf(connector.auth).filter((field) => !held.includes(field))
  const needsNothing = connector.auth.kind === 'none' && !verifiesWebhooks(connector)
  if (needsNothing || isReadyForBrowser(connector, held)) return { secrets: {}, webhookSecrets: undefined }
  if (!canAsk(terminal)) throw noTerminal(connector, missing)
  const scheme = await chooseScheme(connector, held, terminal)
  const secrets: Record<string, string> = {}
  terminal.output.write('What you type is not shown.\n')
  for (const field of secretFieldsOf(scheme)) {
    const answer = await askHidden(`${connector.title}, ${field}${ifEmpty(field, scheme, held)}`, terminal)
    if (answer !== '') secrets[field] = answer
  }
  if (!verifiesWebhooks(connector)) return { secrets, webhookSecrets: undefined }
  const webhookSecret = await askHidden(`${connector.title}, ${WEBHOOK_SECRET} (empty: none)`, terminal)
  return { secrets, webhookSecrets: webhookSecret === '' ? undefined : [webhookSecret] }
}

/** The client is known, so that all that is left is for a person to agree in a browser. */
function isReadyForBrowser({ auth }: AnyConnector, held: readonly string[]): boolean {
  if (!isAuthorizedByPerson(auth) || auth.authorizeUrl === undefined) return false
  if (authFor(auth, held).kind !== 'oauth2') return false
  return ['clientId', 'clientSecret'].every((field) => held.includes(field))
}

/** What it means to give no answer. */
function ifEmpty(field: string, scheme: AuthScheme, held: readonly string[]): string {
  if (held.includes(field)) return ' (empty: keep)'
  const inBrowser = isAuthorizedByPerson(scheme) && scheme.authorizeUrl !== undefined
  return inBrowser && field === grantFieldOf(scheme) ? ' (empty: agree in a browser)' : ''
}

function noTerminal(connector: AnyConnector, missing: readonly string[]): UsageError {
  const how = 'with --secret FIELD=stdin, --secret FIELD=env:VARIABLE or --secret-file FIELD=PATH'
  return missing.length > 0
    ? new UsageError(
        'secret_missing',
        `${connector.title} needs the secrets ${missing.join(', ')}, and there is no terminal to ask on. Give each ${how}.`,
      )
    : new UsageError(
        'secret_missing',
        `Nothing is missing, and there is no terminal to ask on. To change a secret, name it ${how}: ${fieldsOf(connector).join(', ')}${verifiesWebhooks(connector) ? `, ${WEBHOOK_SECRET}` : ''}.`,
      )
}

/** Where a connector may be authorized in several ways and nothing is held yet, the person says which. */
async function chooseScheme(
  { auth, title }: AnyConnector,
  held: readonly string[],
  terminal: Terminal,
): Promise<AuthScheme> {
  const schemes = schemesOf(auth)
  if (schemes.length === 1) return auth
  const used = schemes.find((scheme) => secretFieldsOf(scheme).some((field) => held.includes(field)))
  if (used) return used
  terminal.output.write(`${title} can be authorized in ${schemes.length} ways:\n`)
  for (const [i, scheme] of schemes.entries())
    terminal.output.write(`  ${i + 1}  ${scheme.kind} (${secretFieldsOf(scheme).join(', ')})\n`)
  const chosen = schemes[Number(await askHidden('Which, by its number', terminal)) - 1]
  if (chosen) return chosen
  throw new UsageError(
    'choice_invalid',
    `Answer with a number from 1 to ${schemes.length}. Nothing was changed.`,
  )
}

function verifiesWebhooks({ webhooks }: AnyConnector): boolean {
  return webhooks !== undefined && webhooks.signature !== 'none'
}
