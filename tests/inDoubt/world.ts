import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { defineConfig, type AnyFlow } from 'trestle'
import { businessApp } from 'trestle/connectors/business-app'
import { createBusinessAppTwin } from 'trestle/connectors/business-app/twin'
import { hubspot } from 'trestle/connectors/hubspot'
import { createHubspotTwin } from 'trestle/connectors/hubspot/twin'
import { createQuickbooksTwin } from 'trestle/connectors/quickbooks/twin'
import { createTwilioTwin } from 'trestle/connectors/twilio/twin'
import type { Effect, Twin } from 'trestle/testing'
import {
  CRASH_CHANNEL,
  newId,
  pause,
  systemClock,
  systemRandom,
  type ReachedPoint,
  type RunId,
} from '../../src/base/index.ts'
import type { EgressRequest, EgressResult } from '../../src/egress/index.ts'
import { createInbox, type Inbox } from '../../src/inbox/index.ts'
import { writeEntries } from '../../src/ledger/index.ts'
import { openInstallation, TENANT, type Installation } from '../../src/runtime/index.ts'
import type { Dispatch } from '../../src/dispatch/index.ts'
import { createTestDatabase } from '../support/database.ts'
import { appointmentFlow, PROVIDERS, type Providers } from './flow.ts'
import { createLettersTwin } from './letters.ts'
import { startNode, type Node } from './node.ts'
import { createTimeLapse, type TimeLapse } from './timeLapse.ts'

const SPEED = 10

export interface WorldOptions {
  readonly flowOver?: Partial<Providers>
  readonly forgets?: 'undo of the invoice'
}

/** What one trial does to the exchanges of a node. It answers what the node is given instead, or `undefined`. */
export type Interference = (
  request: EgressRequest,
  send: () => Promise<EgressResult>,
  node: Node,
) => Promise<EgressResult>

export interface RunRow {
  readonly state: string
  readonly due_at: Date | null
  readonly node_id: string | null
  readonly reason_code: string | null
  readonly reason: string | null
  readonly waits: string | null
}

/** Twins on local ports, a real database, real requests, and one node at a time that can die. */
export interface World {
  readonly clock: TimeLapse
  readonly installation: Installation
  readonly twins: {
    readonly app: ReturnType<typeof createBusinessAppTwin>
    readonly hubspot: ReturnType<typeof createHubspotTwin>
    readonly quickbooks: ReturnType<typeof createQuickbooksTwin>
    readonly twilio: ReturnType<typeof createTwilioTwin>
    readonly letters: ReturnType<typeof createLettersTwin>
  }
  readonly all: readonly Twin[]
  /** Who is asked about every exchange from now on. */
  interfere(interference: Interference | undefined): void
  /** The node dies, or its connections break, at the next crash point of this name. */
  arm(point: string, what: 'die' | 'cut'): void
  /** The node is dead; another one comes up after `away` milliseconds. */
  kill(away: number): void
  happen(data: Record<string, unknown>): Promise<RunId>
  load(run: RunId): Promise<RunRow>
  /** Wakes the run at once. */
  wake(run: RunId): Promise<void>
  /** Resolves when a node is up again. */
  settled(): Promise<void>
  effects(): readonly Effect[]
  stop(): Promise<void>
}

export async function openWorld(seed: string, options: WorldOptions = {}): Promise<World> {
  const clock = createTimeLapse(SPEED)
  const folder = await mkdtemp(join(tmpdir(), 'trestle-in-doubt-'))
  const database = await createTestDatabase()
  const app = createBusinessAppTwin({ clock, seed: `${seed} app` })
  const hubspotTwin = createHubspotTwin({ clock, seed: `${seed} hubspot` })
  const quickbooksTwin = createQuickbooksTwin({ clock, seed: `${seed} quickbooks` })
  const twilioTwin = createTwilioTwin({ clock, seed: `${seed} twilio`, lagMs: 20_000 })
  const lettersTwin = createLettersTwin({ clock, seed: `${seed} letters` })
  const all: Twin[] = [app, hubspotTwin, quickbooksTwin, twilioTwin, lettersTwin] as never
  await Promise.all(all.map((twin) => twin.start()))
  await quickbooksTwin.customerCreated({
    DisplayName: 'Ada',
    PrimaryEmailAddr: { Address: 'ada@example.com' },
  })
  const [customer] = [...quickbooksTwin.state.entities.Customer.keys()]

  const providers: Providers = { ...PROVIDERS, ...options.flowOver }
  const flow: AnyFlow = appointmentFlow('appointment', customer!, providers, options.forgets)
  const at = { allowPrivateNetwork: true }
  const installation = await openInstallation({
    config: defineConfig({
      connections: {
        app: businessApp.connect({ ...at, baseUrl: app.url, secrets: { signingSecret: app.signingSecret } }),
        hubspot: hubspot.connect({ ...at, baseUrl: hubspotTwin.url, secrets: { token: 'pat-twin' } }),
        quickbooks: providers.quickbooks.connect({
          ...at,
          baseUrl: quickbooksTwin.url,
          tokenUrl: quickbooksTwin.tokenUrl(),
          settings: { realmId: quickbooksTwin.realmId },
          secrets: {
            clientId: 'quickbooks-client',
            clientSecret: 'quickbooks-client-secret',
            refreshToken: quickbooksTwin.connectApp().refreshToken,
          },
        }),
        twilio: providers.twilio.connect({
          ...at,
          baseUrl: twilioTwin.url,
          settings: { accountSid: twilioTwin.accountSid },
          secrets: { username: twilioTwin.accountSid, password: twilioTwin.authToken },
        }),
        letters: providers.letters.connect({ ...at, baseUrl: lettersTwin.url }),
      },
      flows: [flow],
    }),
    folder,
    databaseUrl: database.url,
    environment: { TRESTLE_MASTER_KEY: systemRandom.bytes(32).toString('base64') },
    clock,
    random: systemRandom,
    development: false,
  })
  await installation.vault.checkMasterKey()
  await installation.vault.syncDeclared(TENANT, installation.config.connections)
  const inbox = openInbox(installation)
  const connection = await installation.vault.loadConnection(TENANT, 'app')

  let interference: Interference | undefined
  let armed: { readonly point: string; readonly what: 'die' | 'cut' } | undefined
  let node: Node | undefined
  let comingUp: Promise<void> = Promise.resolve()
  let wakened: () => void = () => {}
  let nodes = 0
  await installation.dispatch.start(() => wakened())
  // The queue is the database's, and outlives a node.
  const dispatch: Dispatch = {
    ...installation.dispatch,
    start: (listener) => {
      wakened = listener
      listener()
      return Promise.resolve()
    },
    stop: () => Promise.resolve(),
  }

  const bringUp = async (): Promise<void> => {
    node = await startNode({
      installation,
      clock,
      dispatch,
      seed: `${seed} node ${++nodes}`,
      send: (from, request) => {
        const send = (): Promise<EgressResult> => installation.egress.send(request)
        return interference ? interference(request, send, from) : send()
      },
      onMoved: () => {},
    })
  }
  const kill = (away: number): void => {
    const dead = node!
    dead.die()
    clock.jump(away)
    comingUp = installation.database.pool
      .query(`update nodes set heartbeat_at = now() - interval '1 hour' where id = $1`, [dead.engine.node])
      .then(bringUp)
  }
  const onCrashPoint = (said: unknown): void => {
    if (!armed || armed.point !== (said as ReachedPoint).name || !node || node.dead) return
    const { what } = armed
    armed = undefined
    if (what === 'die') kill(0)
    else node.cut()
  }
  subscribe(CRASH_CHANNEL, onCrashPoint)
  await bringUp()

  const world: World = {
    clock,
    installation,
    twins: {
      app,
      hubspot: hubspotTwin,
      quickbooks: quickbooksTwin,
      twilio: twilioTwin,
      letters: lettersTwin,
    },
    all,
    interfere(next) {
      interference = next
      armed = undefined
    },
    arm(point, what) {
      armed = { point, what }
    },
    kill,
    async happen(data) {
      const id = newId('evt')
      const accepted = await inbox.accept({
        tenant: TENANT,
        connectionId: connection.id,
        connectionName: 'app',
        connector: businessApp,
        headers: [],
        contentType: 'application/json',
        body: Buffer.from(JSON.stringify({ data })),
        receivedAt: clock.now(),
        parsed: { data } as never,
        events: [{ id, type: 'appointment.completed', at: '/data' }],
        contentUnique: false,
      })
      const { rows } = await installation.database.pool.query<{ id: RunId }>(
        'select r.id from runs r join events e on e.id = r.event_id where e.delivery_id = $1',
        [accepted.deliveryId],
      )
      if (!rows[0]) {
        const why = await installation.database.pool.query('select state, reason, reason_path from events')
        throw new Error(`The event started no run: ${JSON.stringify(why.rows.at(-1))}`)
      }
      return rows[0].id
    },
    async load(run) {
      const { rows } = await installation.database.pool.query<RunRow>(
        'select state, due_at, node_id, reason_code, reason, waits from runs where id = $1',
        [run],
      )
      return rows[0]!
    },
    wake: (run) => installation.dispatch.wake(installation.database.pool, [{ tenant: TENANT, id: run }]),
    settled: () => comingUp,
    effects: () => all.flatMap((twin) => twin.effects()).sort((a, b) => a.at - b.at),
    async stop() {
      await comingUp
      unsubscribe(CRASH_CHANNEL, onCrashPoint)
      interference = undefined
      await node?.stop()
      await installation.dispatch.stop()
      await installation.close()
      await Promise.all(all.map((twin) => twin.stop()))
      await database.drop()
      await rm(folder, { recursive: true, force: true })
    },
  }
  return world
}

function openInbox({ database, clock, flows, dispatch }: Installation): Inbox {
  return createInbox({
    database,
    clock,
    flows,
    writeEntries,
    wake: (client, runs) => dispatch.wake(client, runs),
  })
}

/** A moment of the machine's own time. */
export const moment = (ms: number): Promise<void> => pause(systemClock, ms, { keepAlive: true })
