import { afterEach, expect, it } from 'vitest'
import {
  CONNECTION,
  setOutageStage,
  TENANT,
  verdictOf,
  type OutageStage,
  type OutageStageOptions,
  type Sale,
} from '../../bench/parts/outageStage.ts'
import { createTestDatabase, type TestDatabase } from '../../tests/support/database.ts'
import { MINUTE, PermanentError, SECOND } from '../base/index.ts'
import { transaction } from '../db/index.ts'
import { createFakeClock, type FakeClock } from '../testing/index.ts'
import { leaveReturn } from '../vault/returns.ts'

let database: TestDatabase
let stage: OutageStage
let clock: FakeClock
/** Whether the vault has a credential to use. */
let authorized: boolean

afterEach(async () => {
  await stage.stop()
  if (stage.faults.length > 0) throw new Error([...new Set(stage.faults)].join('; '))
  await database.drop()
})

async function set(over: Partial<OutageStageOptions> = {}): Promise<void> {
  clock = createFakeClock()
  database = await createTestDatabase()
  authorized = false
  stage = await setOutageStage({
    databaseUrl: database.url,
    clock,
    lanes: false,
    authorize() {
      if (!authorized) throw new PermanentError('needs_reauthorization', 'It must be authorized again.')
    },
    ...over,
  })
}

const salesOf = (count: number): Sale[] => Array.from({ length: count }, (_, n) => ({ customer: `c${n}`, n }))

async function until(isSo: () => Promise<boolean> | boolean, stepMs = 200): Promise<number> {
  for (let steps = 0; steps < 2000; steps++) {
    if (await isSo()) return steps * stepMs
    await stage.step(clock, stepMs)
  }
  throw new Error(`It did not come to that: ${JSON.stringify(await stage.counts())}`)
}

const count = async (state: string): Promise<number> => (await stage.counts())[state] ?? 0
const rowsOf = async (statement: string) => (await stage.database.pool.query<never>(statement)).rows
const setState = (state: string) =>
  stage.database.pool.query('update connections set state = $2 where id = $1', [CONNECTION, state])
const sent = () => stage.provider.seen.filter(({ path }) => path !== '/status')

/** As the vault does it: the state and the return in one transaction. */
async function authorizeAgain(): Promise<void> {
  await transaction(stage.database.pool, async (client) => {
    await client.query(`update connections set state = 'active' where id = $1`, [CONNECTION])
    await leaveReturn(client, { tenant: TENANT, id: CONNECTION }, clock)
  })
  authorized = true
}

it('lets who waited for an authorization go at once, though none of them looked again meanwhile', async () => {
  await set()
  await setState('needs_reauthorization')
  await stage.startNode()
  const sales = salesOf(40)
  await stage.sow('sold', sales)
  await until(async () => (await count('parked')) === 40)
  const claims = await rowsOf('select sum(fence) as claims from runs')
  for (let i = 0; i < 60; i++) await stage.step(clock, MINUTE)
  expect(await rowsOf('select sum(fence) as claims from runs')).toEqual(claims)
  expect(sent()).toEqual([])

  await authorizeAgain()
  const back = clock.now()
  await until(() => sent().length > 0)
  // Far sooner than a look every five minutes would have it.
  expect(clock.now() - back).toBeLessThanOrEqual(5 * SECOND)
  await until(async () => (await count('succeeded')) === 40)
  expect(verdictOf(sales, stage.provider.seen)).toMatchObject({ lost: 0, twice: 0 })
  await until(async () => (await rowsOf('select 1 from credential_returns')).length === 0)
})

it('lets them go one by one at first, and never faster than the limits allow', async () => {
  await set({ limits: [{ name: 'second', allowed: 20, windowMs: SECOND, source: 'test' }] })
  await setState('needs_reauthorization')
  await stage.startNode()
  await stage.sow('sold', salesOf(120))
  await until(async () => (await count('parked')) === 120)
  await authorizeAgain()
  await until(async () => (await count('succeeded')) === 120)
  const times = sent().map(({ at }) => at)
  const inASecond = (from: number): number => times.filter((at) => at >= from && at < from + SECOND).length
  expect(inASecond(times[0]!)).toBeLessThan(10)
  expect(Math.max(...times.map(inASecond))).toBeLessThanOrEqual(20)
})

it.each([
  ['parked', null, 'succeeded'],
  ['undoing', 'cancelled', 'cancelled'],
])(
  'goes on where the node died that wrote the credential, also without what it left for the others: %s',
  async (state, undoTo, end) => {
    await set()
    await setState('needs_reauthorization')
    const first = await stage.startNode()
    await stage.sow('sold', salesOf(5))
    await until(async () => (await count('parked')) === 5)
    await first.stop()
    await stage.database.pool.query('update runs set state = $1, undo_to = $2, due_at = null', [
      state,
      undoTo,
    ])
    await setState('active')
    authorized = true
    await stage.startNode()
    await until(async () => (await count(end)) === 5)
  },
)

it('leaves those waiting whose credential is refused again before they were let go', async () => {
  await set()
  await setState('needs_reauthorization')
  await stage.startNode()
  await stage.sow('sold', salesOf(5))
  await until(async () => (await count('parked')) === 5)
  await transaction(stage.database.pool, (client) =>
    leaveReturn(client, { tenant: TENANT, id: CONNECTION }, clock),
  )
  await until(async () => (await rowsOf('select 1 from credential_returns')).length === 0)
  expect(await stage.counts()).toEqual({ parked: 5 })
})

it('lets go at once those whose key was refused when there is another, and asks a refused key no more often than before', async () => {
  await set()
  authorized = true
  stage.provider.refuses = (path) => path === '/invoices'
  await stage.startNode()
  await stage.sow('sold', salesOf(10))
  await until(async () => (await count('parked')) === 10)
  expect(sent()).toHaveLength(10)
  // They were refused after this return, or with the same key: nobody asks anew.
  for (let i = 0; i < 20; i++) await stage.step(clock, SECOND)
  expect(sent()).toHaveLength(10)

  stage.provider.refuses = () => false
  const back = clock.now()
  await authorizeAgain()
  await until(async () => (await count('succeeded')) === 10)
  expect(clock.now() - back).toBeLessThan(MINUTE)
})
