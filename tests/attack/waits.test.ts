import { describe, expect, it } from 'vitest'
import pg from 'pg'
import { systemClock } from '../../src/base/index.ts'
import { createDispatch } from '../../src/dispatch/index.ts'
import { openDatabase } from '../../src/db/index.ts'
import { createFlowTable, createInbox } from '../../src/inbox/index.ts'
import { writeEntries } from '../../src/ledger/index.ts'
import { connect, createServer, type Socket } from 'node:net'
import { createTestDatabase } from '../support/database.ts'
import { acme, CONNECTION, TENANT } from '../support/engine.ts'
import { attack, flow, pauseMs, stateOf } from './support.ts'

const waiting = flow(({ waitFor }) =>
  waitFor(acme.on('thing.answered'), { on: 'data.customer', equals: 'c', timeout: '30 days' }),
)
const delivery = (id: string, data: object) => {
  const body = { id, type: 'thing.answered', data }
  return {
    tenant: TENANT,
    endpointId: 'ep_acme',
    connectionId: CONNECTION,
    connectionName: 'acme',
    connector: acme,
    headers: [],
    contentType: 'application/json',
    body: Buffer.from(JSON.stringify(body)),
    receivedAt: Date.now(),
    parsed: body as never,
    events: [{ id, type: 'thing.answered', at: '/data' }],
    contentUnique: false,
  }
}

describe('an awaited event', () => {
  it('that an intake node took in while no worker lived for 30 s wakes its run', () =>
    attack(async (start) => {
      const a = await start({ flows: [waiting] })
      const { runs } = await a.deliver('thing.happened', { n: 1 })
      await a.reached(runs[0]!, 'waiting')
      await a.engine.stop()
      // A node of the role intake has no engine, and tells none.
      const dispatch = createDispatch({ database: a.database, clock: systemClock })
      const intake = createInbox({
        database: a.database,
        clock: systemClock,
        flows: createFlowTable([waiting]),
        writeEntries,
        wake: (client, woken) => dispatch.wake(client, woken),
      })
      await intake.accept(delivery('evt_answer', { customer: 'c' }))
      // 30 s go by.
      await a.database.pool.query(`update event_fields set received_at = received_at - interval '30 seconds'`)
      await a.database.pool.query(`update waits set created_at = created_at - interval '1 minute'`)
      await a.database.pool.query(`update runs set created_at = created_at - interval '1 minute'`)
      const b = await start({ flows: [waiting] })
      expect((await stateOf(b, runs[0]!, 'succeeded')).state).toBe('succeeded')
    }))

  it('is given to one of two waits side by side, not to both', () =>
    attack(async (start) => {
      const two = flow(async ({ waitFor }) => {
        const wait = () =>
          waitFor(acme.on('thing.answered'), { on: 'data.customer', equals: 'c', timeout: '30 days' })
        return (await Promise.all([wait(), wait()])).map((event) => event?.id)
      })
      const t = await start({ flows: [two] })
      const { runs } = await t.deliver('thing.happened', { n: 1 })
      await t.reached(runs[0]!, 'waiting')
      await t.inbox.accept(delivery('evt_one', { customer: 'c' }))
      // Its first wait is over. Whether the second took the same event shows when there is another one for it.
      for (let taken = 0; taken === 0; await pauseMs(20)) {
        const { rows } = await t.database.pool.query(`select 1 from journal where kind = 'wait'`)
        taken = rows.length
      }
      await t.inbox.accept(delivery('evt_two', { customer: 'c' }))
      await t.reached(runs[0]!, 'succeeded')
      const { rows } = await t.database.pool.query<{ result: Buffer }>('select result from runs')
      const taken = JSON.parse(rows[0]!.result.toString('utf8')) as string[]
      expect(taken).toHaveLength(2)
      expect(new Set(taken).size).toBe(2)
    }))
})

describe('an event', () => {
  it('whose quarantine reason holds a zero character is kept', () =>
    attack(async (start) => {
      const t = await start({
        flows: [
          {
            ...flow(() => 1),
            key: () => {
              throw new Error('bad name: \u0000')
            },
          },
        ],
        idle: true,
      })
      await expect(t.deliver('thing.happened', { n: 1 })).resolves.toBeTruthy()
    }))
})

describe('the listener for wake-ups', () => {
  it('is one again after the database was away for a while', async () => {
    const testDatabase = await createTestDatabase()
    const target = new URL(testDatabase.url)
    const sockets = new Set<Socket>()
    let away = false
    let refused = 0
    const proxy = createServer((from) => {
      if (away) {
        refused++
        return void from.on('error', () => {}).destroy()
      }
      const to = connect(Number(target.port), target.hostname)
      for (const socket of [from, to])
        sockets.add(socket.on('error', () => {}).on('close', () => (from.destroy(), to.destroy())))
      from.pipe(to).pipe(from)
    })
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve))
    const url = new URL(testDatabase.url)
    url.hostname = '127.0.0.1'
    url.port = String((proxy.address() as { port: number }).port)
    const database = openDatabase({ url: url.href, max: 2 })
    const dispatch = createDispatch({ database, clock: systemClock })
    await dispatch.start(() => {})
    const direct = new pg.Client({ connectionString: testDatabase.url })
    await direct.connect()
    const listeners = async (): Promise<number> =>
      Number(
        (
          await direct.query(
            `select count(*) from pg_stat_activity where datname = current_database() and application_name = 'trestle listen'`,
          )
        ).rows[0].count,
      )
    try {
      expect(await listeners()).toBe(1)
      away = true
      for (const socket of sockets) socket.destroy()
      // It tries again and again meanwhile.
      // oxlint-disable-next-line no-unmodified-loop-condition -- set by the proxy
      while (refused < 6) await pauseMs(50)
      away = false
      while ((await listeners()) === 0) await pauseMs(50)
      // A second one would come as soon as the first did.
      await pauseMs(1_500)
      expect(await listeners()).toBe(1)
    } finally {
      await dispatch.stop()
      await direct.end()
      await database.close().catch(() => {})
      for (const socket of sockets) socket.destroy()
      proxy.close()
      await testDatabase.drop()
    }
  })
})
