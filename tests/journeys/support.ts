import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Pool } from 'pg'
import { expect } from 'vitest'
import { connectToApi, type Api, type ApiRun } from '../../examples/business-day/api.ts'
import { openSalon, type Salon } from '../../examples/business-day/happenings.ts'
import { startTwins, type Twins } from '../../examples/business-day/twins.ts'
import { Witness, type Happening } from '../../examples/business-day/witness.ts'
import { pause, systemClock, systemRandom, type Clock } from '../../src/base/index.ts'
import type { AlertsDefinition } from '../../src/define/index.ts'
import { createPlatform, openInstallation, TENANT } from '../../src/runtime/index.ts'
import { isDelay } from '../support/delays.ts'
import type { LoggedRequest, Twin } from '../../src/testing/index.ts'
import { createTestDatabase, PATIENT_ACK_MS, unhurried } from '../support/database.ts'

/** The salon of the example on the real platform, in this process: a database, twins on local ports, real HTTP. */
export interface Journey {
  readonly twins: Twins
  readonly salon: Salon
  readonly witness: Witness
  readonly api: Api
  /** What has just happened, and nothing before it, has all its effects, each once; and its runs are over. */
  readonly done: (...happenings: readonly Happening[]) => Promise<void>
  /** The newest run of the flow, once it is in one of these states. */
  readonly run: (flow: string, ...states: readonly string[]) => Promise<ApiRun>
  /** Resolves when it is so. The test's time-out is the limit. */
  readonly until: (isSo: () => boolean | Promise<boolean>) => Promise<void>
  /** Resolves when this fault was played on the twin, and the run of the flow waits since. */
  readonly waitsAfter: (fault: LoggedRequest['fault'], twin: Twin, flow: string) => Promise<void>
  /** The clocks of the platform and of the twins go forward. */
  readonly later: (ms: number) => void
  /** For tests that look behind the API. */
  readonly inside: {
    readonly url: string
    readonly token: string
    readonly masterKey: string
    readonly pool: Pool
  }
  stop(): Promise<void>
}

const OVER = ['succeeded', 'undone', 'dead_lettered', 'cancelled']
const LOOK_EVERY_MS = 20

export async function startJourney(seed: string, alerts?: AlertsDefinition): Promise<Journey> {
  const clock = movableClock()
  const [database, twins, folder] = await Promise.all([
    createTestDatabase(),
    startTwins(seed, clock),
    mkdtemp(join(tmpdir(), 'trestle-journey-')),
  ])
  // The example's configuration reads the addresses of the twins when it is imported.
  Object.assign(process.env, twins.environment)
  const { default: config } = await import('../../examples/business-day/trestle.config.ts')
  const masterKey = systemRandom.bytes(32).toString('base64')
  const faults: string[] = []
  const onFault = (what: string, error: unknown): void => {
    if (!isDelay(error)) faults.push(`${what}: ${String(error)}`)
  }
  const installation = await openInstallation({
    config: { ...config, ...(alerts && { alerts }) },
    folder,
    databaseUrl: unhurried(database.url),
    environment: {
      ...twins.environment,
      TRESTLE_MASTER_KEY: masterKey,
    },
    clock,
    random: systemRandom,
    development: false,
    onFault,
  })
  const platform = await createPlatform(installation, {
    roles: ['intake', 'worker', 'api'],
    port: 0,
    ackTimeoutMs: PATIENT_ACK_MS,
    version: 'test',
    watchdog: false,
    onFault,
  })
  const { token } = await installation.vault.tokens.create({
    tenant: TENANT,
    name: 'journey',
    grants: { role: 'operator' },
    actor: 'operator:test',
  })
  const url = platform.url!
  twins.sendTo({ url, token })
  const api = connectToApi(url, token)
  const witness = new Witness(twins, clock)

  const until: Journey['until'] = async (isSo) => {
    while (!(await isSo())) await pause(systemClock, LOOK_EVERY_MS, { keepAlive: true })
  }
  const run: Journey['run'] = async (flow, ...states) => {
    let found: ApiRun | undefined
    await until(async () => {
      found = (await api.all<ApiRun>('/runs')).findLast((one) => one.flow === flow)
      return found !== undefined && states.includes(found.state)
    })
    return found!
  }
  return {
    twins,
    salon: openSalon(twins, witness, clock),
    witness,
    api,
    until,
    async done(...happenings) {
      await until(() => {
        witness.look()
        return happenings.every((happening) => witness.doneAt(happening) !== undefined)
      })
      await Promise.all(twins.all.map((twin) => twin.webhooks.idle()))
      await until(async () => (await api.all<ApiRun>('/runs')).every(({ state }) => OVER.includes(state)))
      const { missing, doubled, unasked } = witness.verdict()
      expect({ missing, doubled, unasked }).toEqual({ missing: [], doubled: [], unasked: [] })
    },
    run,
    async waitsAfter(fault, twin, flow) {
      await until(() => twin.requests().some((request) => request.fault === fault))
      await run(flow, 'waiting')
    },
    later: (ms) => clock.move(ms),
    inside: { url, token, masterKey, pool: installation.database.pool },
    async stop() {
      await platform.stop()
      await installation.close()
      await twins.stop()
      await database.drop()
      await rm(folder, { recursive: true, force: true })
      expect(twins.all.flatMap((twin) => twin.ownErrors())).toEqual([])
      expect(faults).toEqual([])
    },
  }
}

/** The machine's clock, which can be put forward. Timers keep their real length. */
function movableClock(): Clock & { move(ms: number): void } {
  let ahead = 0
  return {
    ...systemClock,
    now: () => systemClock.now() + ahead,
    move(ms) {
      ahead += ms
    },
  }
}
