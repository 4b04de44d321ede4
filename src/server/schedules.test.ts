import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { systemClock, systemRandom } from '../base/index.ts'
import { cron, defineFlow } from '../define/index.ts'
import { books, polling } from '../schedules/list.fixture.ts'
import { declaredSchedules, Scheduler, withScheduleEvents } from '../schedules/index.ts'
import { writeEntries } from '../ledger/index.ts'
import { openServer, type ServerFixture } from './server.fixture.ts'

const flows = [
  defineFlow({ name: 'weekly', on: cron('0 8 * * 1', { zone: 'Europe/Berlin' }), run: () => 'done' }),
  polling(),
]
const connectors = withScheduleEvents(new Map([[books.name, books]]), flows)

let server: ServerFixture
beforeAll(async () => {
  server = await openServer({
    flows,
    idle: true,
    over: { connectorNamed: (name) => connectors.get(name) },
  })
  const { database } = server.engine
  const scheduler = new Scheduler({
    database,
    clock: systemClock,
    random: systemRandom,
    tenant: 'default',
    declared: declaredSchedules(flows),
    node: () => 'nod_test',
    connectorNamed: (name) => connectors.get(name),
    connectionFor: () => Promise.reject(new Error('no test polls')),
    call: () => Promise.reject(new Error('no test calls')),
    acceptWithin: (client, delivery) => server.engine.inbox.acceptWithin(client, delivery),
    writeEntries,
    trustsOnlyBoth: true,
  })
  await scheduler.start()
  await scheduler.stop()
})
afterAll(() => server.close())

const actorOf = async (action: string, target: string): Promise<string | undefined> =>
  (await server.get(`/api/v1/ledger?action=${action}&target=${target}`)).json.items[0]?.actor

describe('schedules', () => {
  it('are listed with what comes next', async () => {
    const { status, json } = await server.get('/api/v1/schedules')
    expect(status).toBe(200)
    expect(json.items).toMatchObject([
      { name: 'things', kind: 'poll', state: 'active', cursor: expect.any(String), failures: 0 },
      { name: 'weekly', kind: 'cron', declaration: '0 8 * * 1 Europe/Berlin last', lagMs: 0, lastDone: null },
    ])
    expect(Date.parse(json.items[1].nextDue)).toBeGreaterThan(Date.now())
  })

  it('run by hand, as often as asked, on the record of who asked; their times stay', async () => {
    const before = (await server.get('/api/v1/schedules')).json.items[1]
    const first = await server.post('/api/v1/schedules/weekly/run')
    expect(first.json).toMatchObject({
      name: 'weekly',
      kind: 'cron',
      deliveryId: expect.stringMatching(/^dlv_/),
    })
    await server.post('/api/v1/schedules/weekly/run')
    const { items } = (await server.get('/api/v1/runs?flow=weekly')).json
    expect(items).toHaveLength(2)
    expect(items[0].event.type).toBe('schedule.weekly')
    expect(await actorOf('schedule.fired', 'weekly')).toMatch(/^token:tok_/)
    expect((await server.get('/api/v1/schedules')).json.items[1]).toEqual(before)
  })

  it('a poll is due at once when it is asked for, and reads from where it is told to', async () => {
    await server.engine.database.pool.query(
      `update schedules set due_at = now() + interval '1 hour' where name = 'things'`,
    )
    expect((await server.post('/api/v1/schedules/things/run')).json).toMatchObject({
      kind: 'poll',
      deliveryId: null,
    })
    const listed = async () => (await server.get('/api/v1/schedules')).json.items[0]
    expect(Date.parse((await listed()).nextDue)).toBeLessThanOrEqual(Date.now())
    expect(await actorOf('schedule.requested', 'things')).toMatch(/^token:tok_/)

    const moved = await server.post('/api/v1/schedules/things/move', { to: '2026-11-20T01:00:00+01:00' })
    expect(moved.json).toEqual({ name: 'things', to: '2026-11-20T00:00:00.000Z' })
    expect((await listed()).cursor).toBe('2026-11-20T00:00:00.000Z')
    await server.post('/api/v1/schedules/things/move', { to: 'beginning' })
    expect((await listed()).cursor).toBeNull()
    expect(await actorOf('schedule.moved', 'things')).toMatch(/^token:tok_/)
  })

  it('refuse what cannot be, in words', async () => {
    expect(await server.post('/api/v1/schedules/nobody/run')).toMatchObject({
      status: 404,
      json: { detail: expect.stringContaining('the name of its flow') },
    })
    expect((await server.post('/api/v1/schedules/weekly/move', { to: 'beginning' })).status).toBe(409)
    expect((await server.post('/api/v1/schedules/things/move', { to: 'yesterday' })).status).toBe(400)
    await server.engine.database.pool.query(`update schedules set state = 'retired' where name = 'weekly'`)
    expect(await server.post('/api/v1/schedules/weekly/run')).toMatchObject({
      status: 409,
      json: { detail: expect.stringContaining('retired') },
    })
  })

  it('are nobody else’s', async () => {
    const foreign = { authorization: `Bearer ${server.foreignToken}` }
    expect((await server.get('/api/v1/schedules', foreign)).json).toEqual({ items: [] })
    expect((await server.post('/api/v1/schedules/things/run', undefined, foreign)).status).toBe(404)
  })
})
