import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../tests/support/database.ts'
import { HOUR, MINUTE, SECOND } from '../base/index.ts'
import { cron, defineFlow, type CronOptions } from '../define/index.ts'
import {
  clockAt,
  ledgerOf,
  NINE,
  rowOf,
  runsOf,
  startNode,
  type TestNode,
  type TestNodeOptions,
} from './schedules.fixture.ts'

let test: TestDatabase
const nodes: TestNode[] = []
beforeEach(async () => {
  test = await createTestDatabase()
})
afterEach(async () => {
  for (const node of nodes.splice(0)) await node.stop()
  await test.drop()
})

const hourly = (options: CronOptions = {}, expression = '0 * * * *', name = 'report') =>
  defineFlow({ name, on: cron(expression, options), run: ({ event }) => event.data.scheduledFor })

async function start(options: Partial<TestNodeOptions> = {}): Promise<TestNode> {
  const node = await startNode({ url: test.url, flows: [hourly()], ...options })
  nodes.push(node)
  return node
}

const iso = (ms: number): string => new Date(ms).toISOString()
const times = async (node: TestNode): Promise<unknown[]> =>
  (await runsOf(node.database)).map((run) => (run.data as { scheduledFor: string }).scheduledFor)

describe('a schedule', () => {
  it('fires once when it is due, and says when it ran before', async () => {
    const clock = clockAt(NINE + MINUTE)
    const node = await start({ clock })
    await node.look()
    expect(await runsOf(node.database)).toEqual([])
    await clock.advance(HOUR - MINUTE)
    await node.look()
    await node.look()
    await clock.advance(HOUR)
    await node.look()
    expect(await runsOf(node.database)).toEqual([
      { flow: 'report', data: { scheduledFor: iso(NINE + HOUR), previous: null } },
      { flow: 'report', data: { scheduledFor: iso(NINE + 2 * HOUR), previous: iso(NINE + HOUR) } },
    ])
    expect(await ledgerOf(node.database)).toEqual([
      'schedule.added active',
      'schedule.fired accepted',
      'schedule.fired accepted',
    ])
    expect(await rowOf(node.database, 'report')).toMatchObject({
      due_at: new Date(NINE + 3 * HOUR),
      skipped: '0',
    })
    expect(node.faults).toEqual([])
  })

  it('has events like all others: connection, delivery, key, wake-up', async () => {
    const clock = clockAt(NINE + MINUTE)
    const node = await start({ clock })
    await clock.advance(HOUR)
    await node.look()
    const { rows } = await node.database.pool.query(
      `select e.type, e.state, e.provider_event_id, e.occurred_at, n.name, d.state as delivery, k.kind
       from events e join connections n on n.tenant = e.tenant and n.id = e.connection_id
       join deliveries d on d.id = e.delivery_id join event_keys k on k.event_id = e.id`,
    )
    expect(rows).toEqual([
      {
        type: 'schedule.report',
        state: 'dispatched',
        provider_event_id: `report ${iso(NINE + HOUR)}`,
        occurred_at: new Date(NINE + HOUR),
        name: 'trestle.schedule',
        delivery: 'accepted',
        kind: 'id',
      },
    ])
    const wakeUps = await node.database.pool.query(`select 1 from dispatch.job where name = 'wake-ups'`)
    expect(wakeUps.rowCount).toBe(1)
  })

  it('fires once on several nodes that look at once', async () => {
    const clock = clockAt(NINE + MINUTE)
    const four = [
      await start({ clock }),
      await start({ clock }),
      await start({ clock }),
      await start({ clock }),
    ]
    for (let hour = 0; hour < 5; hour++) {
      await clock.advance(HOUR)
      await Promise.all(four.map((node) => node.look()))
    }
    expect(await times(four[0]!)).toEqual([1, 2, 3, 4, 5].map((n) => iso(NINE + n * HOUR)))
    expect(four.flatMap((node) => node.faults)).toEqual([])
  })

  it('does not fire a time again where its row was put back', async () => {
    const clock = clockAt(NINE + MINUTE)
    const node = await start({ clock })
    await clock.advance(HOUR)
    await node.look()
    const putBack = () =>
      node.database.pool.query('update schedules set due_at = $1, previous_at = null', [
        new Date(NINE + HOUR),
      ])
    await putBack()
    await node.look()
    expect(await times(node)).toEqual([iso(NINE + HOUR)])
    expect(await ledgerOf(node.database)).toContain('schedule.fired duplicate')

    // Control: it is the key that knows the time.
    await node.database.pool.query('delete from event_keys')
    await putBack()
    await node.look()
    expect(await times(node)).toEqual([iso(NINE + HOUR), iso(NINE + HOUR)])
  })
})

it('says on its row what keeps a schedule from firing, and fires when that is over', async () => {
  const clock = clockAt(NINE + MINUTE)
  const node = await start({ clock })
  await clock.advance(HOUR)
  await node.database.pool.query(
    `alter table deliveries add constraint none check (connection_id <> 'con_schedule')`,
  )
  await node.look()
  expect(await rowOf(node.database, 'report')).toMatchObject({
    failures: 1,
    error: expect.stringContaining('violates check constraint'),
    due_at: new Date(NINE + HOUR),
  })
  await node.database.pool.query('alter table deliveries drop constraint none')
  await node.look()
  expect(await times(node)).toEqual([iso(NINE + HOUR)])
  expect(await rowOf(node.database, 'report')).toMatchObject({ failures: 0, error: null })
})

describe('after a time without any node', () => {
  async function away(options: CronOptions): Promise<TestNode> {
    const before = await start({ flows: [hourly(options)], clock: clockAt(NINE + MINUTE) })
    await before.scheduler.stop()
    const node = await start({ flows: [hourly(options)], clock: clockAt(NINE + 3 * HOUR + 20 * MINUTE) })
    await node.look()
    return node
  }

  it('runs the latest of the times that passed, and puts the others on record', async () => {
    const node = await away({})
    expect(await times(node)).toEqual([iso(NINE + 3 * HOUR)])
    expect(await ledgerOf(node.database)).toEqual([
      'schedule.added active',
      'schedule.fired accepted',
      'schedule.skipped skipped',
    ])
    const { rows } = await node.database.pool.query<{ entry: Buffer }>(
      `select entry from ledger where action = 'schedule.skipped'`,
    )
    expect(JSON.parse(rows[0]!.entry.toString())).toMatchObject({
      target: 'report',
      detail: { missed: 'last', from: iso(NINE + HOUR), to: iso(NINE + 2 * HOUR), count: 2 },
    })
    expect(await rowOf(node.database, 'report')).toMatchObject({
      skipped: '2',
      due_at: new Date(NINE + 4 * HOUR),
    })
  })

  it("with missed: 'all' runs each of them", async () => {
    const node = await away({ missed: 'all' })
    expect(await times(node)).toEqual([1, 2, 3].map((n) => iso(NINE + n * HOUR)))
    expect(await rowOf(node.database, 'report')).toMatchObject({ skipped: '0' })
  })

  it("with missed: 'all' runs more than one transaction takes", async () => {
    const each = hourly({ missed: 'all' }, '* * * * *')
    await (await start({ flows: [each], clock: clockAt(NINE) })).scheduler.stop()
    const node = await start({ flows: [each], clock: clockAt(NINE + 2 * HOUR) })
    await node.look()
    const all = await times(node)
    expect(all).toHaveLength(120)
    expect(new Set(all).size).toBe(120)
  })

  it("with missed: 'skip' runs none, and puts all of them on record", async () => {
    const node = await away({ missed: 'skip' })
    expect(await times(node)).toEqual([])
    expect(await ledgerOf(node.database)).toEqual(['schedule.added active', 'schedule.skipped skipped'])
    expect(await rowOf(node.database, 'report')).toMatchObject({ skipped: '3', previous_at: null })
  })

  it('that began before a gap of the clocks and ended in it, runs the time that does not exist once', async () => {
    const nightly = hourly({ zone: 'Europe/Berlin' }, '30 2 * * *')
    const before = await start({ flows: [nightly], clock: clockAt('2026-03-29T00:40Z') })
    await before.scheduler.stop()
    const clock = clockAt('2026-03-29T00:59:59Z')
    const node = await start({ flows: [nightly], clock })
    await node.look()
    expect(await times(node)).toEqual([])
    await clock.advance(SECOND)
    await node.look()
    await (await start({ flows: [nightly], clock: clockAt('2026-03-29T01:40Z') })).look()
    expect(await times(node)).toEqual(['2026-03-29T01:00:00.000Z'])
    expect(await rowOf(node.database, 'report')).toMatchObject({ due_at: new Date('2026-03-30T00:30Z') })
  })

  it('in an hour that comes twice, does not run its time again', async () => {
    const nightly = hourly({ zone: 'Europe/Berlin' }, '30 2 * * *')
    const clock = clockAt('2026-10-25T00:00Z')
    const node = await start({ flows: [nightly], clock })
    await clock.advance(31 * MINUTE)
    await node.look()
    const again = await start({ flows: [nightly], clock: clockAt('2026-10-25T01:31Z') })
    await again.look()
    expect(await times(node)).toEqual(['2026-10-25T00:30:00.000Z'])
  })
})

describe('a clock that jumps', () => {
  it('back: nothing fires twice', async () => {
    const clock = clockAt(NINE + MINUTE)
    const node = await start({ clock })
    await clock.advance(2 * HOUR)
    await node.look()
    clock.set(NINE - 5 * HOUR)
    await node.look()
    clock.set(NINE + MINUTE)
    for (let hour = 0; hour < 3; hour++) {
      await clock.advance(HOUR)
      await node.look()
    }
    expect(await times(node)).toEqual([iso(NINE + 2 * HOUR), iso(NINE + 3 * HOUR)])
  })

  it('ahead of the database: nothing fires before both say that it is time', async () => {
    const now = Date.now()
    // Half an hour from now, so that none comes while the test stands still.
    const each = hourly({ missed: 'all' }, `${new Date(now + HOUR / 2).getUTCMinutes()} * * * *`)
    await (await start({ flows: [each], clock: clockAt(now) })).scheduler.stop()
    const ahead = clockAt(now + 48 * HOUR)
    const careful = await start({ flows: [each], clock: ahead, trustsOnlyBoth: true })
    await careful.look()
    expect(await times(careful)).toEqual([])
    // Control: a node that believes its own clock fires what is not due for two days.
    const credulous = await start({ flows: [each], clock: ahead })
    await credulous.look()
    expect((await times(credulous)).length).toBe(48)
  })
})

describe('code that changes', () => {
  it('retires a schedule that is gone, and begins it anew when it is back', async () => {
    await (await start({ clock: clockAt(NINE + MINUTE) })).scheduler.stop()
    const without = await start({ flows: [], clock: clockAt(NINE + 2 * HOUR) })
    await without.look()
    expect(await rowOf(without.database, 'report')).toMatchObject({ state: 'retired', due_at: null })
    const back = await start({ clock: clockAt(NINE + 5 * HOUR + MINUTE) })
    await back.look()
    expect(await times(back)).toEqual([])
    expect(await rowOf(back.database, 'report')).toMatchObject({
      state: 'active',
      due_at: new Date(NINE + 6 * HOUR),
    })
    expect(await ledgerOf(back.database)).toEqual([
      'schedule.added active',
      // At ten it had not run, and now it never will.
      'schedule.skipped skipped',
      'schedule.retired retired',
      'schedule.added active',
    ])
  })

  it('fires by the new times only, also on a node that still has the old ones', async () => {
    const clock = clockAt(NINE + 50 * MINUTE)
    const old = await start({ clock })
    const daily = [hourly({}, '30 9 * * *')]
    const node = await start({ flows: daily, clock: clockAt(NINE + 50 * MINUTE) })
    expect(await rowOf(node.database, 'report')).toMatchObject({ due_at: new Date(NINE + 24.5 * HOUR) })
    const later = clockAt(NINE + 25 * HOUR)
    await (await start({ flows: daily, clock: later })).look()
    await clock.advance(25 * HOUR)
    await old.look()
    expect(await times(node)).toEqual([iso(NINE + 24.5 * HOUR)])
    expect(await ledgerOf(node.database)).toContain('schedule.changed active')
  })

  it('skips a time that had come before it began anew, and says so', async () => {
    await (await start({ clock: clockAt(NINE + MINUTE) })).scheduler.stop()
    const changed = [hourly({ missed: 'all' })]
    const node = await start({ flows: changed, clock: clockAt(NINE + HOUR + MINUTE) })
    await node.look()
    expect(await times(node)).toEqual([])
    expect(await rowOf(node.database, 'report')).toMatchObject({
      due_at: new Date(NINE + 2 * HOUR),
      skipped: '1',
      skipped_at: new Date(NINE + HOUR + MINUTE),
    })
    expect(await ledgerOf(node.database)).toEqual([
      'schedule.added active',
      'schedule.skipped skipped',
      'schedule.changed active',
    ])
    // Begun in time, nothing is skipped.
    await start({ flows: [hourly()], clock: clockAt(NINE + HOUR + 2 * MINUTE) })
    expect(await rowOf(node.database, 'report')).toMatchObject({ skipped: '1' })
  })

  it('keeps the next time of what stays', async () => {
    const node = await start({ clock: clockAt(NINE + MINUTE) })
    const two = [hourly(), hourly({}, '0 8 * * *', 'other')]
    await start({ flows: two, clock: clockAt(NINE + 10 * MINUTE) })
    expect(await rowOf(node.database, 'report')).toMatchObject({ due_at: new Date(NINE + HOUR), fence: '0' })
  })
})
