import { reasonOf } from '../../base/index.ts'
import { ALERT_CONNECTIONS, type AnyConnector } from '../../define/index.ts'
import { hasCheapRead, TENANT, type Installation } from '../../runtime/index.ts'
import type { ListedConnection } from '../../vault/index.ts'
import { encryptionFindings, mailFindings, THIS_MACHINE, type OutwardAddress } from './encryption.ts'
import { fail, ok, warn, type Finding } from './findings.ts'
import { secretsFinding } from './secrets.ts'

/** Whether the secrets open, what state each connection is in, and where its webhooks come in. */
export async function lookAtConnections(installation: Installation): Promise<readonly Finding[]> {
  const { vault, config } = installation
  const sealed = await vault.checkMasterKey().then(
    async () => secretsFinding(await vault.masterKeyState()),
    (error: unknown) => fail('Secrets', 'they do not open', reasonOf(error)),
  )
  const listed = (await vault.listConnections(TENANT)).filter((one) => one.state !== 'revoked')
  const missing = Object.keys(config.connections).filter((name) => !listed.some((one) => one.name === name))
  return [
    sealed,
    ...listed.map((one) => connectionFinding(one, installation)),
    ...encryptionFindings(addressesOf(listed)),
    // With a login it has a connection, which is looked at as such.
    ...(config.connections[ALERT_CONNECTIONS.email] ? [] : mailFindings(config.alerts?.email)),
    ...missing.map((name) =>
      warn(
        `Connection ${name}`,
        'declared, and not set up yet',
        'The next start does it: trestle dev, or trestle serve.',
      ),
    ),
    publicUrlFinding(
      config.publicUrl,
      listed.filter((one) => one.endpoint !== undefined).map((one) => one.name),
    ),
  ]
}

/** Where connections send to; those of alerts are among them. */
function addressesOf(listed: readonly ListedConnection[]): readonly OutwardAddress[] {
  return listed.flatMap(({ name, baseUrl, tokenUrl }) => [
    { what: `Connection ${name}`, url: baseUrl },
    ...(tokenUrl === undefined ? [] : [{ what: `Connection ${name}, tokens`, url: tokenUrl }]),
  ])
}

function connectionFinding(one: ListedConnection, { connectorNamed, config }: Installation): Finding {
  const what = `Connection ${one.name}`
  const title = connectorNamed(one.connector)?.title ?? one.connector
  if (one.state === 'needs_reauthorization')
    return fail(what, `${title}: it must be authorized again`, `trestle connections add ${one.name}`)
  if (connectorNamed(one.connector) === undefined)
    return warn(
      what,
      `the configuration has no connector "${one.connector}" any more`,
      `Declare a connection of it again, or: trestle connections remove ${one.name}`,
    )
  const words = `${hookWords(one)}${checkWords(one, connectorNamed(one.connector)!)}`
  if (!one.declared && config.connections[one.name] === undefined)
    return ok(what, `${title}, added by hand${words}`)
  return ok(what, `${title}, active${words}`)
}

/** A connection that cannot be checked while it is idle shows what is wrong with it only when it is needed. */
function checkWords({ check }: ListedConnection, connector: AnyConnector): string {
  if (!hasCheapRead(connector)) return ', not checked while idle: its connector has no cheap read'
  if (check?.checkedAt === undefined) return ''
  return `, checked ${check.checkedAt.toISOString().slice(0, 16).replace('T', ' ')} UTC: ${check.outcome}`
}

function hookWords({ endpoint }: ListedConnection): string {
  return endpoint === undefined ? '' : `, webhooks at /webhooks/${endpoint.path}`
}

/** Providers must be able to reach what they are given. */
export function publicUrlFinding(publicUrl: string | undefined, withWebhooks: readonly string[]): Finding {
  if (publicUrl === undefined)
    return withWebhooks.length === 0
      ? ok('Public URL', 'not set, and no connection receives webhooks')
      : warn(
          'Public URL',
          `not set: providers cannot reach this machine by "localhost" (${withWebhooks.join(', ')})`,
          'Set "publicUrl" in trestle.config.ts to the address that they reach you at, such as https://hooks.example.com.',
        )
  const { protocol, hostname } = new URL(publicUrl)
  if (protocol === 'https:') return ok('Public URL', publicUrl)
  return THIS_MACHINE.test(hostname)
    ? ok('Public URL', `${publicUrl}, for this machine alone`)
    : warn(
        'Public URL',
        `${publicUrl} is not encrypted`,
        'Put TLS in front, and write https:// in "publicUrl".',
      )
}
