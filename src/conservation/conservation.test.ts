import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startTestEngine, CONNECTION, TENANT, type TestEngine } from '../../tests/support/engine.ts'
import { createTestDatabase, type TestDatabase } from '../../tests/support/database.ts'
import { farFromMidnight } from '../../tests/support/midnight.ts'
import { settled } from '../../tests/support/settled.ts'
import { SECOND, systemClock } from '../base/index.ts'
import { acme } from '../../tests/support/engine.ts'
import { defineFlow } from '../define/index.ts'
import { beginConservation, countOnce } from './check.ts'
import { brokenBalances, listBalances, lookBack } from './index.ts'

let testDatabase: TestDatabase
let engine: TestEngine
const options = () => ({ database: engine.database, clock: systemClock, tenant: TENANT })
/** The flow's key throws: what comes is quarantined. */
let refuses = false
const flow = defineFlow({
  name: 'thing-happened',
  on: acme.on('thing.happened'),
  key: () => {
    if (refuses) throw new Error('the author made a mistake')
    return undefined
  },
  async run({ step }) {
    await step('note', () => 'noted')
  },
})

beforeAll(async () => {
  await farFromMidnight(90 * SECOND)
  testDatabase = await createTestDatabase()
  engine = await startTestEngine(testDatabase, { flows: [flow] })
  await beginConservation(options())
})
afterAll(async () => {
  await engine.stop()
  await testDatabase.drop()
})

/** Everything written so far is read, and all hours are counted anew. */
async function count(): Promise<number> {
  await settled(engine.database.pool)
  await engine.database.pool.query('update conservation set checked_at = null')
  let broken = 0
  for (let hours = 0; hours < 3; hours++) {
    const counted = await countOnce(options(), 0)
    if (counted.as === 'counted') broken = Math.max(broken, counted.broken)
  }
  return broken
}

const today = () => new Date(systemClock.now()).toISOString().slice(0, 10)
const all = () => listBalances(engine.database.pool, TENANT, { from: 0, to: systemClock.now() + 1 })

describe('counts that must balance', () => {
  it('balance for each connection, flow and day, whatever state things are in', async () => {
    const first = await engine.deliver('thing.happened', { n: 1 })
    await engine.reached(first.runs[0]!, 'succeeded')
    await engine.deliver('thing.happened', { n: 'not a number' })
    await engine.deliver('thing.answered', {})
    expect(await count()).toBe(0)
    expect(await all()).toEqual([
      expect.objectContaining({
        day: today(),
        connection: 'acme',
        flow: null,
        expected: 3,
        counted: 3,
        states: { dispatched: 1, quarantined: 1, unmatched: 1 },
        balanced: true,
      }),
      expect.objectContaining({
        day: today(),
        connection: 'acme',
        flow: 'thing-happened',
        expected: 1,
        counted: 1,
        states: { succeeded: 1 },
        balanced: true,
      }),
    ])
  })

  it('know of replays and of releases', async () => {
    const { event, runs } = await engine.deliver('thing.happened', { n: 2 })
    await engine.reached(runs[0]!, 'succeeded')
    const acting = { actor: 'operator:test', tenant: TENANT } as const
    await engine.operator.replayEvent(event, { ...acting, repeatEffects: true })
    refuses = true
    const quarantined = await engine.deliver('thing.happened', { n: 2 })
    refuses = false
    await engine.operator.release(quarantined.event.replace('evt_', 'qrn_'), acting)
    expect(await count()).toBe(0)
    expect((await all()).map((one) => [one.flow, one.expected, one.counted])).toEqual([
      [null, 5, 5],
      ['thing-happened', 4, 4],
    ])
  })

  it('are the same when the same is delivered again', async () => {
    await engine.deliver('thing.happened', { n: 3 }, 'evt_again')
    await engine.deliver('thing.happened', { n: 3 }, 'evt_again').catch(() => undefined)
    expect(await count()).toBe(0)
    expect((await all())[0]).toMatchObject({ expected: 6, counted: 6 })
  })

  it('find a run that was deleted behind our back, and name its day, connection, flow and id', async () => {
    const { runs } = await engine.deliver('thing.happened', { n: 4 })
    await engine.reached(runs[0]!, 'succeeded')
    expect(await count()).toBe(0)
    await engine.database.pool.query('delete from runs where id = $1', [runs[0]])
    expect(await count()).toBe(1)
    expect(await brokenBalances(engine.database.pool, TENANT, 10)).toEqual([
      expect.objectContaining({
        day: today(),
        connection: 'acme',
        connectionId: CONNECTION,
        flow: 'thing-happened',
        expected: 6,
        counted: 5,
        balanced: false,
        missing: [runs[0]],
      }),
    ])
  })

  it('would find nothing if they trusted the rows themselves', async () => {
    const { pool } = engine.database
    await pool.query('update conservation set declared = counted')
    expect(await count()).toBe(0)
    await pool.query(`update conservation set declared = declared + 1 where flow <> ''`)
    expect(await count()).toBe(1)
  })

  it('find it by looking once, without a node that does', async () => {
    const looked = await lookBack(engine.database.pool, TENANT, 24)
    expect(looked.broken).toEqual([
      expect.objectContaining({ day: today(), connectionId: CONNECTION, flow: 'thing-happened' }),
    ])
  })

  it('find an event that was deleted, and the run that has none any more', async () => {
    const { event, runs } = await engine.deliver('thing.happened', { n: 5 })
    await engine.reached(runs[0]!, 'succeeded')
    await engine.database.pool.query('delete from events where id = $1', [event])
    await count()
    const broken = await brokenBalances(engine.database.pool, TENANT, 10)
    expect(broken.find((one) => one.flow === null)).toMatchObject({
      expected: 8,
      counted: 7,
      missing: [event],
    })
  })

  it('find a row that no entry speaks of', async () => {
    await engine.database.pool.query(
      `insert into events (tenant, id, connection_id, delivery_id, type, state, data_at)
       select e.tenant, e.id || x, e.connection_id, e.delivery_id, e.type, e.state, e.data_at from events e, unnest(array['x', 'y', 'z']) x
       where e.state = 'unmatched'`,
    )
    await count()
    const broken = await brokenBalances(engine.database.pool, TENANT, 10)
    expect(broken.find((one) => one.flow === null)).toMatchObject({ expected: 8, counted: 10, missing: [] })
  })

  it('find a state that there is not', async () => {
    await engine.database.pool.query(`update events set state = 'forgotten' where state = 'unmatched'`)
    expect(await count()).toBeGreaterThan(0)
  })
})
