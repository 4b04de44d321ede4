import { writeSync } from 'node:fs'
import { reasonOf, systemClock, systemRandom } from '../../../src/base/index.ts'
import { defineConfig, type AlertsDefinition, type ConnectionDefinition } from '../../../src/define/index.ts'
import { createChannels } from '../../../src/incidents/alerts/channels.ts'
import { openly } from '../../../src/incidents/incidents.fixture.ts'
import { createPlatform, openInstallation, TENANT, type Installation } from '../../../src/runtime/index.ts'
import { ALL_RIGHTS } from '../../../src/vault/rights.ts'
import { planConnection } from '../../../src/vault/plan.ts'
import { ALERT } from '../../egress/alert.ts'
import { resolveAt } from '../../egress/nameServer.ts'
import { onAskedToStop, readChildOptions, tellParent } from '../../crash/child.ts'
import type { NodeOptions, NodeReady } from '../../crash/node.ts'
import { BATTERY_FLOWS, probe, SECRETS, signedIn } from './connectors.ts'
import { batteryUrls, MAIL_HOSTS, REBINDING_NAMES } from './forms.ts'
import { createInternet, withoutPolicy } from './internet.ts'

/** A node whose every configured address is one of the battery, on a network where those lead to the canary. */
export interface BatteryOptions extends NodeOptions {
  readonly canaryPort: number
  readonly sinkPort: number
  readonly namePort: number
  /** A system on a private network that redirects. */
  readonly hopUrl: string
}

export interface BatteryReady extends NodeReady {
  readonly token: string
  /** URLs that the configuration itself refuses: no connection can have them. */
  readonly refusedByConfiguration: readonly string[]
  readonly connections: Readonly<Record<'forms' | 'tokenUrls' | 'rebinding', readonly string[]>>
  /** What was told to alert channels whose address is one of the battery. */
  readonly alerts: { readonly tried: number; readonly told: readonly string[] }
}

const options = readChildOptions() as BatteryOptions
const { canaryPort, sinkPort } = options
const resolve = resolveAt(options.namePort)

const secrets = { token: SECRETS.token }
const grant = { clientId: 'battery', clientSecret: SECRETS.client, refreshToken: 'battery-refresh-token' }
const urls = batteryUrls(canaryPort)
const tokenUrls = urls.filter((url) => /^https?:/i.test(url)).map((url) => `${url.replace(/\/+$/, '')}/token`)
const named = {
  forms: definitions('form', urls, (baseUrl) => probe.connect({ baseUrl, secrets })),
  tokenUrls: definitions('sign', tokenUrls, (tokenUrl) => signedIn.connect({ tokenUrl, secrets: grant })),
  rebinding: definitions(
    'rebind',
    REBINDING_NAMES.map((name) => `https://${name}:${canaryPort}`),
    (baseUrl) => probe.connect({ baseUrl, secrets }),
  ),
}

const installation = await openInstallation({
  config: defineConfig({
    connections: {
      inlet: probe.connect({ secrets, webhookSecrets: [options.webhookSecret] }),
      hop: probe.connect({ baseUrl: options.hopUrl, secrets, allowPrivateNetwork: true }),
      ...named.forms.connections,
      ...named.tokenUrls.connections,
      ...named.rebinding.connections,
    },
    flows: BATTERY_FLOWS,
    ...(options.alerts && { alerts: options.alerts }),
  }),
  folder: options.folder,
  databaseUrl: options.databaseUrl,
  environment: {},
  clock: systemClock,
  random: systemRandom,
  development: true,
  network:
    options.sabotage === 'leaves_without_policy'
      ? { dispatcher: withoutPolicy(resolve, sinkPort) }
      : { resolve, connect: createInternet(sinkPort) },
  onFault,
})
const platform = await createPlatform(installation, {
  roles: options.roles,
  port: 0,
  version: 'drill',
  lingerMs: 0,
  onFault,
})
onAskedToStop(async () => {
  await platform.stop()
  await installation.close()
})
const { token } = await installation.vault.tokens.create({
  tenant: TENANT,
  name: 'drill',
  actor: 'operator:drill',
  grants: ALL_RIGHTS,
})
tellParent({
  as: 'ready',
  url: platform.url ?? '',
  node: platform.node ?? '',
  pid: process.pid,
  token,
  refusedByConfiguration: Object.values(named).flatMap(({ refused }) => refused),
  connections: {
    forms: Object.keys(named.forms.connections),
    tokenUrls: Object.keys(named.tokenUrls.connections),
    rebinding: Object.keys(named.rebinding.connections),
  },
  alerts: await tellEveryAddress(installation),
} satisfies BatteryReady)

/** A connection for each address that the configuration takes, and the others. */
function definitions(
  prefix: string,
  addresses: readonly string[],
  connect: (address: string) => ConnectionDefinition,
): {
  readonly connections: Readonly<Record<string, ConnectionDefinition>>
  readonly refused: readonly string[]
} {
  const connections: Record<string, ConnectionDefinition> = {}
  const refused: string[] = []
  for (const [i, address] of addresses.entries()) {
    const name = `${prefix}-${i}`
    const definition = connect(address)
    if (planConnection(name, definition, {}).problems.length > 0) refused.push(address)
    else connections[name] = definition
  }
  return { connections, refused }
}

/** An alert by webhook to each URL, and by mail through each host. */
async function tellEveryAddress({ egress }: Installation): Promise<BatteryReady['alerts']> {
  const secret = `whsec_${systemRandom.bytes(32).toString('base64')}`
  const ways: readonly (readonly [string, AlertsDefinition])[] = [
    ...urls.map((url) => [url, { webhook: { url, secret } }] as const),
    ...MAIL_HOSTS.map((host) => [host, mailThrough(host)] as const),
  ]
  const told: string[] = []
  for (const [address, alerts] of ways) {
    const deps = { clock: systemClock, tenant: TENANT, egress, standing: openly(alerts) }
    const [channel] = await createChannels(alerts, deps)
    if ((await channel!.tell(ALERT)).as !== 'failed') told.push(address)
  }
  return { tried: ways.length, told }
}

function mailThrough(host: string): AlertsDefinition {
  const smtp = { host, port: canaryPort, tls: false }
  return { email: { to: 'ada@example.com', from: 'trestle@example.com', smtp } }
}

function onFault(what: string, error: unknown): void {
  writeSync(2, `${what}: ${reasonOf(error)}\n`)
}
