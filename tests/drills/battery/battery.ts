import { join } from 'node:path'
import { createServer, type AddressInfo, type Server } from 'node:net'
import { request } from 'undici'
import { SECOND } from '../../../src/base/index.ts'
import { signatureSchemes } from '../../../src/define/index.ts'
import type { Sent } from '../../crash/sender.ts'
import { until } from '../../crash/underLoad.ts'
import { openCanary, type Canary } from '../../egress/canary.ts'
import { THIS_MACHINE } from '../../egress/forms.ts'
import { openNameServer } from '../../egress/nameServer.ts'
import type { Drill, DrillOptions, DrillReport } from '../drill.ts'
import { postAll, type Posted } from '../posting.ts'
import { onStage, type Stage } from '../stage.ts'
import { sentOf } from '../storm.ts'
import { SECRETS } from './connectors.ts'
import { answersOf } from './forms.ts'
import type { BatteryOptions, BatteryReady } from './node.ts'

const FEWEST_FORMS = 200
/** So many forms may be no name that DNS can carry: they are looked up, and there is nothing to refuse. */
const MOST_UNKNOWN = 10
const SETTLED_WITHIN_MS = 90 * SECOND
const TRIES_OF_REBINDING = 8

export const battery: Drill = {
  number: '12',
  title: 'every configured address is one that must not be reached, in every way to write it',
  run: (options) => inSmallInternet(options, play),
  controls: [
    { sabotage: 'leaves_without_policy', notices: ({ broken }) => broken.some((line) => line.includes(HIT)) },
  ],
}
const HIT = 'the canary was hit'

interface World {
  readonly stage: Stage
  readonly ready: BatteryReady
  readonly canary: Canary
  readonly hops: () => number
}

async function inSmallInternet(
  options: DrillOptions,
  play: (world: World, options: DrillOptions) => Promise<DrillReport>,
): Promise<DrillReport> {
  const canary = await openCanary('127.0.0.1')
  const names = await openNameServer(answersOf)
  const sink = await openSink()
  let hops = 0
  const hop = await openHop(canary.port, () => hops++)
  const nodesAlsoGet: Pick<BatteryOptions, 'canaryPort' | 'sinkPort' | 'namePort' | 'hopUrl'> = {
    canaryPort: canary.port,
    sinkPort: portOf(sink),
    namePort: names.port,
    hopUrl: `http://127.0.0.1:${portOf(hop)}`,
  }
  try {
    return await onStage(
      {
        ...options,
        entries: join(options.compiled, 'drills'),
        nodeEntry: join('battery', 'node.js'),
        nodesAlsoGet,
      },
      async (stage) => {
        const node = await stage.startNode('battery', { roles: ['intake', 'api', 'worker'] })
        const ready = (await node.ready) as BatteryReady
        return play({ stage, ready, canary, hops: () => hops }, options)
      },
    )
  } finally {
    await Promise.all([canary.close(), names.close(), closed(sink), closed(hop)])
  }
}

async function play({ stage, ready, canary, hops }: World, options: DrillOptions): Promise<DrillReport> {
  const { onProgress } = options
  const { connections, refusedByConfiguration, alerts } = ready
  // Nothing else has been asked yet.
  const alertsOnRecord = await deniedOf(stage)
  onProgress(`${alerts.tried} alerts tried, ${canary.hits()} hits`)

  const sent: Sent[] = []
  const asked = [...connections.forms, ...Array.from({ length: 4 }, () => 'hop')]
  await postAll(stage, options.folder, askFor(options.seed, asked, sent), 8)
  await until(SETTLED_WITHIN_MS, async () => (await unsettled(stage)) === 0)
  onProgress(`${sent.length} runs over, ${canary.hits()} hits`)

  for (const name of connections.forms) await pressTest(ready, name)
  for (const name of connections.tokenUrls) await pressTest(ready, name)
  const tokensOnRecord = await deniedOf(stage, connections.tokenUrls)
  const tested = [...connections.forms, ...connections.tokenUrls]
  const rebound: string[] = []
  for (const name of connections.rebinding)
    for (let i = 0; i < TRIES_OF_REBINDING; i++) rebound.push(await pressTest(ready, name))
  onProgress(`${tested.length + rebound.length} tests of connections, ${canary.hits()} hits`)

  const runs = (await stage.ask<RunRow>(RUNS)) ?? []
  const refused = runs.filter(({ code }) => code === 'egress_denied')
  const unknown = runs.filter(({ code }) => code === 'dns_failed')
  const redirected = runs.filter(({ code }) => code === 'redirected')
  const others = runs.filter((run) => ![...refused, ...unknown, ...redirected].includes(run))
  const silentRuns = refused.filter(({ denials, failures }) => denials === 0 || failures === 0)
  const silentTests = (await stage.ask<{ name: string }>(SILENT_TESTS, [[...connections.forms]])) ?? []
  const unknownNames = new Set(unknown.map(({ connection }) => connection))
  const offTheRecord = silentTests.filter(({ name }) => !unknownNames.has(name))
  const judged = await stage.judged([])
  const forms = refusedByConfiguration.length + connections.forms.length + connections.tokenUrls.length
  return {
    ...judged,
    drill: '12',
    scale: 'whole; an internet of its own, in which each such address leads to the canary',
    n: forms + alerts.tried + rebound.length,
    acknowledged: sent.filter(({ acknowledgedAt }) => acknowledgedAt !== undefined).length,
    recoveredMs: undefined,
    alertedMs: undefined,
    figures: {
      'hits of the canary': canary.hits(),
      'base URLs': connections.forms.length,
      'token URLs': connections.tokenUrls.length,
      'refused by the configuration': refusedByConfiguration.length,
      'addresses of alerts': alerts.tried,
      'tests of connections': tested.length + rebound.length,
      'of these of names that change their answer': rebound.length,
      'redirects to this machine': hops(),
      'refused runs': refused.length,
      'entries egress.denied': await deniedOf(stage),
      'no name that DNS can carry': unknown.length,
    },
    broken: [
      ...(canary.hits() > 0 ? [`${HIT} ${canary.hits()} times`] : []),
      ...Object.values(SECRETS).flatMap((secret) =>
        canary.heard().includes(secret) ? [`the canary heard ${secret}`] : [],
      ),
      ...(connections.forms.length < FEWEST_FORMS ? [`only ${connections.forms.length} forms`] : []),
      ...alerts.told.slice(0, 5).map((address) => `an alert to ${address} was taken`),
      ...(alertsOnRecord < alerts.tried - 3 * MOST_UNKNOWN
        ? [`of ${alerts.tried} alerts refused, ${alertsOnRecord} are on record`]
        : []),
      ...others.slice(0, 5).map(({ connection, state, code }) => `${connection}: ${state} (${code})`),
      ...(unknown.length > MOST_UNKNOWN ? [`${unknown.length} forms were looked up and not found`] : []),
      ...(hops() === 0 || redirected.length === 0 ? ['nothing was redirected'] : []),
      ...silentRuns.slice(0, 5).map(({ connection }) => `no entry of the refused run over ${connection}`),
      ...offTheRecord.slice(0, 5).map(({ name }) => `no entry of the refused test of ${name}`),
      ...(tokensOnRecord < connections.tokenUrls.length - MOST_UNKNOWN
        ? [`of ${connections.tokenUrls.length} token endpoints refused, ${tokensOnRecord} are on record`]
        : []),
      ...(rebound.some((code) => code === 'egress_denied') && rebound.some((code) => code !== 'egress_denied')
        ? []
        : ['no name changed its answer']),
      ...(sent.some(({ acknowledgedAt }) => acknowledgedAt === undefined)
        ? ['not all were acknowledged']
        : []),
    ],
    late: [],
  }
}

interface RunRow {
  readonly connection: string
  readonly state: string
  readonly code: string
  /** Entries of the ledger about it. */
  readonly denials: number
  readonly failures: number
}

const RUNS = `select coalesce(c.name, '') as connection, r.state, coalesce(a.code, r.reason_code, '') as code,
    (select count(*)::int from ledger l where l.tenant = r.tenant and l.run_id = r.id and l.action = 'egress.denied') as denials,
    (select count(*)::int from ledger l where l.tenant = r.tenant and l.run_id = r.id and l.action = 'call.failed') as failures
  from runs r
  left join journal j on j.tenant = r.tenant and j.run_id = r.id
  left join connections c on c.tenant = r.tenant and c.id = j.connection_id
  left join lateral (select code from attempts a where a.tenant = r.tenant and a.run_id = r.id order by number desc limit 1) a on true
  where r.flow = 'asked'`

const SILENT_TESTS = `select c.name from connections c where c.name = any($1) and not exists (
    select 1 from ledger l where l.tenant = c.tenant and l.action = 'egress.denied' and l.run_id is null
      and (l.connection_id = c.id))`

/** Entries of what was refused, on behalf of these connections. Default: of whomever. */
async function deniedOf(stage: Stage, names?: readonly string[]): Promise<number> {
  const rows = await stage.ask<{ many: number }>(
    `select count(*)::int as many from ledger l where l.action = 'egress.denied'
      and ($1::text[] is null or exists (
        select 1 from connections c where c.tenant = l.tenant and c.id = l.connection_id and c.name = any($1)))`,
    [names ?? null],
  )
  return rows?.[0]?.many ?? 0
}

/** Runs that have not ended, and events without a run. */
async function unsettled(stage: Stage): Promise<number> {
  const rows = await stage.ask<{ many: number }>(
    `select count(*)::int as many from events e left join runs r on r.tenant = e.tenant and r.event_id = e.id
     where r.id is null or r.state not in ('succeeded', 'dead_lettered')`,
  )
  return rows?.[0]?.many ?? Number.NaN
}

function* askFor(seed: string, connections: readonly string[], sent: Sent[]): Generator<Posted, void> {
  for (const [i, connection] of connections.entries()) {
    const of = sentOf(`${seed}-${i}`)
    sent.push(of)
    yield {
      of,
      id: of.id,
      path: '/webhooks/inlet',
      scheme: signatureSchemes.standardWebhooks,
      body: JSON.stringify({ id: of.id, data: { connection } }),
    }
  }
}

/** The button that tests a connection, as the API has it; gives the code of what came of it. */
async function pressTest({ url, token }: BatteryReady, name: string): Promise<string> {
  const { statusCode, body } = await request(`${url}/api/v1/connections/${name}/test`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}` },
  })
  const said = (await body.json()) as { code: string | null; outcome: string }
  if (statusCode !== 200)
    throw new Error(`The test of ${name} was answered ${statusCode}: ${JSON.stringify(said)}`)
  return said.code ?? said.outcome
}

/** Where public addresses lead: it hangs up. */
function openSink(): Promise<Server> {
  return listening(createServer((socket) => void socket.on('error', () => {}).destroy()))
}

/** Redirects everybody with a 308 to this machine, written each time in another way. */
function openHop(port: number, onHop: () => number): Promise<Server> {
  return listening(
    createServer((socket) => {
      socket
        .on('error', () => {})
        .once('data', () => {
          const host = encodeURI(THIS_MACHINE[onHop() % THIS_MACHINE.length]!)
          socket.end(
            `HTTP/1.1 308 Elsewhere\r\nlocation: http://${host}:${port}/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n`,
          )
        })
    }),
  )
}

async function listening(server: Server): Promise<Server> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return server
}

const portOf = (server: Server): number => (server.address() as AddressInfo).port
const closed = (server: Server): Promise<unknown> => new Promise((resolve) => server.close(resolve))
