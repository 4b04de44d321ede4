import { subscribe } from 'node:diagnostics_channel'
import { writeSync } from 'node:fs'
import {
  CRASH_CHANNEL,
  newId,
  pause,
  reasonOf,
  SECOND,
  systemClock,
  systemRandom,
  type CrashPoint,
  type ReachedPoint,
} from '../../src/base/index.ts'
import type { EgressRequest } from '../../src/egress/index.ts'
import { callsOf, createPlatform, openInstallation, TENANT } from '../../src/runtime/index.ts'
import type { RefreshTiming } from '../../src/vault/index.ts'
import { onAskedToStop, readChildOptions, tellParent } from '../crash/child.ts'
import { sabotage, type Sabotage } from '../crash/sabotage.ts'
import { configOf, portal, type Portals } from './connector.ts'
import { openJournal } from './journal.ts'

/** A worker in a process of its own that also calls over OAuth connections, by the pipeline that runs use. */
export interface NodeOptions extends Portals {
  /** Of this life: another one after a death. */
  readonly name: string
  readonly databaseUrl: string
  readonly folder: string
  /** Takes what the node did and reached, for whoever judges it. */
  readonly journalFile: string
  /** Those that are called over. */
  readonly called: readonly string[]
  /** Calls at once, in the same moment on every node, again and again. */
  readonly callers: number
  /** Default: the product's own times. */
  readonly timing?: RefreshTiming
  /** Once it was told to, by SIGUSR2, it ends itself where it comes to this place next. */
  readonly diesAt?: CrashPoint
  readonly sabotage?: Sabotage
}

export interface NodeReady {
  readonly pid: number
}

/** What a node writes down. `connection` is an id in `reached`, a name in `call`. Times in ms since 1970. */
export type NodeLine =
  | {
      readonly as: 'reached'
      readonly point: CrashPoint
      readonly connection: string
      readonly at: number
      readonly dies: boolean
    }
  | {
      readonly as: 'call'
      readonly connection: string
      readonly at: number
      readonly ms: number
      /** `succeeded`, or why not. */
      readonly outcome: string
    }

const WAVE_MS = SECOND

const options = readChildOptions() as NodeOptions
const journal = openJournal<NodeLine>(options.journalFile)
let armed = false
process.on('SIGUSR2', () => {
  armed = true
})
subscribe(CRASH_CHANNEL, (said) => {
  const { name, about } = said as ReachedPoint
  if (about === undefined) return
  const dies = armed && name === options.diesAt
  journal.synced({ as: 'reached', point: name, connection: about, at: systemClock.now(), dies })
  if (dies) process.kill(process.pid, 'SIGKILL')
})

const installation = await openInstallation({
  config: configOf(options),
  folder: options.folder,
  databaseUrl: options.databaseUrl,
  environment: {},
  clock: systemClock,
  random: systemRandom,
  development: true,
  ...(options.timing && { refreshTiming: options.timing }),
  onFault,
})
if (options.sabotage) sabotage(installation, options.sabotage)
// The witness tells exchanges apart by who asks.
const { send } = installation.egress
Object.assign(installation.egress, {
  send: (request: EgressRequest) =>
    send({ ...request, headers: [...pairsOf(request.headers), ['x-node', options.name]] }),
})
const platform = await createPlatform(installation, {
  roles: ['worker'],
  version: 'oauth-test',
  watchdog: false,
  looksAtDisk: false,
  onFault,
})
const stop = { asked: false }
onAskedToStop(async () => {
  stop.asked = true
  await platform.stop()
  await installation.close()
})
tellParent({ pid: process.pid } satisfies NodeReady)
const calls = callsOf(installation)
await Promise.all(Array.from({ length: options.callers }, (_, i) => callAgainAndAgain(i)))

async function callAgainAndAgain(i: number): Promise<void> {
  const name = options.called[i % options.called.length]!
  const connection = await installation.vault.loadConnection(TENANT, name)
  while (!stop.asked) {
    // All at once, on every node: what chance keeps apart shows no race.
    await pause(systemClock, WAVE_MS - (systemClock.now() % WAVE_MS))
    const began = systemClock.monotonic()
    const outcome = await callOnce(connection).catch((error: unknown) => `threw: ${reasonOf(error)}`)
    const ms = Math.round(systemClock.monotonic() - began)
    journal.write({ as: 'call', connection: name, at: systemClock.now(), ms, outcome })
  }
}

async function callOnce(
  connection: Awaited<ReturnType<typeof installation.vault.loadConnection>>,
): Promise<string> {
  const outcome = await calls.call({
    tenant: TENANT,
    connection: { ...connection, connector: portal, allowPrivate: true },
    operationName: 'me',
    operation: portal.operationsByName.get('me')!,
    input: {},
    idempotencyKey: newId('att'),
    begunAt: systemClock.now(),
    runId: '',
    stepName: 'me',
    attempt: 1,
    kind: 'send',
  })
  return 'code' in outcome ? `${outcome.as}: ${outcome.code}` : outcome.as
}

function pairsOf(headers: EgressRequest['headers']): readonly (readonly [string, string])[] {
  return Array.isArray(headers) ? headers : Object.entries(headers)
}

function onFault(what: string, error: unknown): void {
  writeSync(2, `${what}: ${reasonOf(error)}\n`)
}
