import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { callOf, connectionTo, connectorOf, createThing } from '../calls/calls.fixture.ts'
import { startSharedBudgets } from '../calls/index.ts'
import { DAY, HOUR, pause, systemClock, systemRandom } from '../base/index.ts'
import { openServer, type ServerFixture } from './server.fixture.ts'

const limits = [
  { name: 'day', allowed: 1000, windowMs: DAY, source: 'https://limits.example (2026-11-22)' },
  { name: 'writes', allowed: 50, windowMs: HOUR, appliesTo: 'write' as const, source: 'test' },
]
const limited = connectorOf(createThing('natural'), { limits })

let server: ServerFixture
beforeAll(async () => {
  server = await openServer({
    idle: true,
    over: { connectorNamed: (name) => (name === 'business-app' ? limited : undefined) },
  })
})
afterAll(() => server.close())

/** Calls of a flow over the connection, as a node makes them: with budgets that all nodes share. */
async function spend(calls: readonly { readonly flow: string }[]): Promise<void> {
  const shared = startSharedBudgets({
    clock: systemClock,
    random: systemRandom,
    databaseUrl: server.engine.database.url,
  })
  const connection = { ...connectionTo('http://127.0.0.1:1', limited, 'con_app'), tenant: 'default' }
  for (const { flow } of calls) {
    const call = callOf(connection, createThing('natural'), { flow, priority: 'normal' })
    let leave = await shared.budgets.admit(call)
    // It is told to come again where the database does not answer at once.
    while (leave.as !== 'admitted') {
      await pause(systemClock, 50)
      leave = await shared.budgets.admit(call)
    }
    leave.ticket.close()
  }
  await shared.stop()
}

describe('budgets', () => {
  it('say of each limit what is used, what is left and who spends it', async () => {
    await spend([{ flow: 'sync' }, { flow: 'sync' }, { flow: 'sync' }, { flow: 'invoices' }])
    const { status, json } = await server.get('/api/v1/budgets?connection=app')
    expect(status).toBe(200)
    expect(json.items).toMatchObject([
      {
        connection: 'app',
        limit: 'day',
        windowSeconds: 86_400,
        declared: 1000,
        allowed: 1000,
        foreign: 0,
        appliesTo: null,
        blockedUntil: null,
        source: 'https://limits.example (2026-11-22)',
        spentBy: [
          { flow: 'sync', calls: 3, points: 3, refused: 0, share: 0.75 },
          { flow: 'invoices', calls: 1, points: 1, refused: 0, share: 0.25 },
        ],
      },
      { limit: 'writes', appliesTo: 'write', allowed: 50 },
    ])
    const [day] = json.items
    expect(day.used).toBeGreaterThanOrEqual(4)
    expect(day.headroom).toBe(day.allowed - day.used - day.foreign)
    expect(Date.parse(day.lastUsedAt)).toBeGreaterThan(Date.now() - HOUR)
  })

  it('say when a limit is used up at this rate, and on which day it is reached at this growth', async () => {
    const { pool } = server.engine.database
    await pool.query(
      `insert into budget_spending (tenant, connection_id, limit_name, flow, hour, calls, points, refused)
       values ('default', 'con_app', 'day', 'import', date_trunc('hour', now()), 600, 600, 0)`,
    )
    await pool.query(
      `insert into budget_peaks (tenant, connection_id, limit_name, day, peak)
       select 'default', 'con_app', 'day', current_date - i, 900 - 40 * i from generate_series(1, 14) i`,
    )
    const [day] = (await server.get('/api/v1/budgets?connection=app')).json.items
    expect(Date.parse(day.forecast.goneAt)).toBeGreaterThan(Date.now())
    expect(day.forecast.reachedOn).toMatch(/^\d{4}-\d\d-\d\d$/)
    expect(day.forecast.inWords).toMatch(
      /At this rate the limit "day" is used up at .*Z\. At this growth .* on /,
    )
    expect(day.spentBy[0]).toMatchObject({ flow: 'import', calls: 600 })
  })

  it('are asked for by a connection that there is, and are nobody else’s', async () => {
    expect(await server.get('/api/v1/budgets?connection=nobody')).toMatchObject({ status: 404 })
    expect(await server.get('/api/v1/budgets?nonsense=1')).toMatchObject({ status: 400 })
    const foreign = { authorization: `Bearer ${server.foreignToken}` }
    expect((await server.get('/api/v1/budgets', foreign)).json).toEqual({ items: [] })
  })
})
