import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import type { ApiRun } from '../../examples/business-day/api.ts'
import { CUSTOMERS, customersOf, inTurn } from '../../examples/business-day/people.ts'
import { MINUTE, pause, systemClock } from '../../src/base/index.ts'
import { openDatabase, startEmbeddedPostgres } from '../../src/db/index.ts'
import { compilePackage } from '../cli/support.ts'
import { openSalonWorld, type SalonWorld } from './salon.ts'

/**
 * The drill of the restore: a backup in the middle of a business day, more of the day, the machine is lost, the backup is
 * put back, a person releases it, and the day goes on. What counts is what the twins saw.
 */
let home: string
beforeAll(async () => {
  home = await compilePackage('backup')
})

/** Nothing was asked of a twin for so long: what is to come waits for a time. */
const STILL_MS = 3_000
const MOST_JUMPS = 15
const OVER = ['succeeded', 'undone', 'dead_lettered', 'cancelled']

interface Drilled {
  readonly missing: readonly string[]
  readonly doubled: readonly string[]
  /** Runs that wait for a person at the end. */
  readonly held: readonly ApiRun[]
  readonly report: HoldAnswer
  readonly lostEffects: number
  readonly requestsInHold: number
  readonly audit: { readonly code: number; readonly stdout: string; readonly stderr: string }
}

interface HoldAnswer {
  readonly inHold: boolean
  readonly hold: { readonly kind: string; readonly detail: { readonly ledger: Record<string, unknown> } }
  readonly counts: readonly { readonly flow: string; readonly runs: number }[]
  readonly receivedSince: number
  readonly unknownSince: readonly { readonly connection: string; readonly lastEvent: unknown }[]
}

const requests = ({ twins }: SalonWorld): number =>
  twins.all.reduce((sum, twin) => sum + twin.requests().length, 0)
const effects = ({ twins }: SalonWorld): number =>
  twins.all.reduce((sum, twin) => sum + twin.effects().length, 0)

async function allDone(world: SalonWorld): Promise<boolean> {
  world.witness.look()
  return world.witness.unfinished().length === 0
}

/** Waits; and where nothing moves any more because all wait for a time to come, that time comes. */
async function settle(world: SalonWorld, isSo: () => Promise<boolean>): Promise<void> {
  let [seen, since, jumps] = [requests(world), systemClock.monotonic(), 0]
  const moved = async (): Promise<boolean> => {
    if (await isSo()) return true
    if (requests(world) !== seen) [seen, since] = [requests(world), systemClock.monotonic()]
    return systemClock.monotonic() - since > STILL_MS
  }
  while ((await world.until(moved, 300_000)) && !(await isSo()) && jumps++ < MOST_JUMPS) {
    world.later(4 * MINUTE)
    since = systemClock.monotonic()
  }
}

async function atRest({ api }: SalonWorld): Promise<boolean> {
  const runs = await api.all<ApiRun>('/runs')
  return runs.every(({ state }) => OVER.includes(state) || state === 'held')
}

async function drill(options: { readonly withoutDoubt?: boolean } = {}): Promise<Drilled> {
  const world = await openSalonWorld(home, 'restore drill')
  const { twins, salon } = world
  const payer = inTurn(CUSTOMERS)
  const known = customersOf('known')
  try {
    // The morning, until everything has come of it.
    await world.start()
    for (let i = 0; i < 4; i++) salon.pays(payer(), 4000 + i * 100)
    await salon.books(known[0]!)
    salon.completes(known[1]!)
    await settle(world, () => allDone(world))

    // QuickBooks is down: runs are in flight when the backup is made, under load.
    twins.quickbooks.faults.down(true)
    for (let i = 0; i < 4; i++) salon.pays(payer(), 5000 + i * 100)
    salon.completes(known[2]!)
    salon.completes(customersOf('lead')[0]!)
    const inFlight = async (): Promise<boolean> =>
      (await world.api.all<ApiRun>('/runs')).filter(({ state }) => !OVER.includes(state)).length >= 6
    expect(await world.until(inFlight)).toBe(true)
    const backup = join(world.home, 'noon')
    const making = world.trestle('backup', backup, '--json', ...(options.withoutDoubt ? [] : ['--verify']))
    for (let i = 0; i < 5; i++) {
      salon.pays(payer(), 6000 + i * 100)
      await pause(systemClock, 200, { keepAlive: true })
    }
    expect(await making).toMatchObject({ code: 0 })
    const sentBefore = new Map(twins.all.map((twin) => [twin, twin.deliveries().length]))
    const effectsBefore = effects(world)

    // The lost hour: what waited is done, new things happen, and all of it has its effects. Then the machine is lost.
    twins.quickbooks.faults.down(false)
    for (let i = 0; i < 5; i++) salon.pays(payer(), 7000 + i * 100)
    salon.completes(known[3]!)
    salon.misses(known[4]!)
    await salon.books(known[0]!)
    await settle(world, () => allDone(world))
    const lostEffects = effects(world) - effectsBefore
    for (let i = 0; i < 3; i++) salon.pays(payer(), 8000 + i * 100)
    await pause(systemClock, 300, { keepAlive: true })
    await world.loseMachine()
    const stoppedAt = new Date(world.now()).toISOString()

    // The backup is put back. A running server, and data that is there, are refused without a word to the contrary.
    const refused = await world.trestle('restore', backup, '--json')
    expect(refused).toMatchObject({ code: 2, stdout: expect.stringContaining('restore_occupied') })
    const restored = await world.trestle('restore', backup, '--replace', '--stopped-at', stoppedAt, '--json')
    expect(restored).toMatchObject({ code: 0, stdout: expect.stringContaining('"inHold":true') })
    await world.start()
    expect(world.notices().join('\n')).toMatch(/In hold since .*trestle hold release/s)

    // In hold: what comes in is taken, and nothing leaves.
    await Promise.all(twins.all.map((twin) => twin.webhooks.idle()))
    const before = requests(world)
    for (let i = 0; i < 2; i++) salon.pays(payer(), 9000 + i * 100)
    // Providers send again what came after the backup, as their support, or a button, does it.
    for (const twin of twins.all)
      for (const { number, forged } of twin.deliveries().slice(sentBefore.get(twin)))
        if (!forged) await twin.webhooks.resend(number)
    await Promise.all(twins.all.map((twin) => twin.webhooks.idle()))
    const unanswered = twins.all.flatMap((twin) =>
      twin.deliveries().filter(({ state, forged }) => state !== 'delivered' && !forged),
    )
    await pause(systemClock, 2_500, { keepAlive: true })
    const requestsInHold = requests(world) - before
    const shown = await world.trestle('hold', '--json')
    const report = JSON.parse(shown.stdout) as HoldAnswer
    const ready = (await (await fetch(`${apiUrl(world)}/ready`)).json()) as { status: string; hold?: object }
    expect(ready).toMatchObject({ status: 'ready', hold: { kind: 'restored' } })
    expect((await world.trestle('hold')).stdout).toMatch(/In doubt: runs that were in flight/)
    expect(unanswered.filter((delivery) => delivery.state === 'sending')).toEqual([])

    if (options.withoutDoubt) await forgetLostTime(world)
    expect(await world.trestle('hold', 'release')).toMatchObject({ code: 0 })
    for (let i = 0; i < 3; i++) salon.pays(payer(), 9500 + i * 100)
    // The control has nothing to wait for once it has seen what it looks for.
    const seen = async (): Promise<boolean> =>
      options.withoutDoubt === true && world.witness.verdict().doubled.length > 0
    await settle(world, async () => (await seen()) || ((await atRest(world)) && (await allDone(world))))
    const held = (await world.api.all<ApiRun>('/runs')).filter(({ state }) => state === 'held')
    const { missing, doubled } = world.witness.verdict()
    const audit = await world.trestle('audit', 'verify', '--json')
    return { missing, doubled, held, report, lostEffects, requestsInHold, audit }
  } finally {
    await world.close()
  }
}

/** Takes the protection away: the platform is told that nothing was lost. */
async function forgetLostTime({ folder }: SalonWorld): Promise<void> {
  const server = await startEmbeddedPostgres({ dataDir: join(folder, '.trestle', 'postgres') })
  const database = openDatabase({ url: server.url, max: 1 })
  await database.pool.query('update holds set lost_from = null, lost_to = null')
  await database.close()
  await server.stop()
}

function apiUrl({ twins }: SalonWorld): string {
  return new URL(twins.hubspotWebhooks()).origin
}

describe('a backup of the middle of the day, put back after the machine was lost', () => {
  it('does nothing twice, loses nothing that is sent again, and names what it does not know', async () => {
    const { missing, doubled, held, report, lostEffects, requestsInHold, audit } = await drill()
    expect(lostEffects).toBeGreaterThan(20)
    expect(requestsInHold).toBe(0)
    expect(report).toMatchObject({ inHold: true, hold: { kind: 'restored' } })
    expect(report.counts.reduce((sum, { runs }) => sum + runs, 0)).toBeGreaterThanOrEqual(6)
    expect(report.unknownSince.map(({ connection }) => connection)).toEqual(
      expect.arrayContaining(['app', 'calcom', 'hubspot', 'quickbooks', 'stripe', 'twilio']),
    )
    expect(doubled).toEqual([])
    // What nobody could tell waits for a person, and is named; all else has come.
    expect({ missing, held: held.map(({ reason }) => reason) }).toEqual({ missing: [], held: [] })
    expect(audit).toMatchObject({ code: 0 })
  }, 600_000)

  it('control: with the doubt taken away effects are doubled, and the drill notices', async () => {
    const { doubled } = await drill({ withoutDoubt: true })
    expect(doubled.length).toBeGreaterThan(0)
  }, 600_000)
})
