import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { pause, SECOND, systemClock } from '../../src/base/index.ts'
import type { EmbeddedPostgres } from '../../src/db/embedded/index.ts'
import { openDatabase, transaction } from '../../src/db/index.ts'
import { compileEntries } from '../crash/build.ts'
import { judge, unfinished } from '../crash/invariant.ts'
import { errands, type Errand } from '../crash/load.ts'
import { openSurroundings } from '../crash/surroundings.ts'
import { until } from '../crash/underLoad.ts'
import { endNode, startPostgres } from '../crash/world.ts'
import { startPgBouncer, whyNoPgBouncer, type PgBouncer } from '../support/pgbouncer.ts'

/** Fewer than one node alone has, so that transactions of many clients share them. */
const POOL_SIZE = 6
const DELIVERIES = 200

const why = whyNoPgBouncer()
const suite = why === undefined ? describe : describe.skip

suite(`behind PgBouncer in transaction mode${why === undefined ? '' : ` (skipped: ${why})`}`, () => {
  let folder: string
  let entries: string
  let postgres: EmbeddedPostgres
  let pooler: PgBouncer
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'trestle-pooled-'))
    entries = await compileEntries()
    postgres = await startPostgres(folder)
    pooler = await startPgBouncer({ serverUrl: postgres.url, poolSize: POOL_SIZE })
  })
  afterAll(async () => {
    await pooler.stop()
    await postgres.stop()
    await rm(folder, { recursive: true, force: true })
  })

  it(
    'two nodes do everything once, and a killed one has its runs rescued',
    async () => {
      const around = await openSurroundings({
        folder: join(folder, 'world'),
        entries,
        postgres,
        through: (url) => pooler.through(url),
      })
      const nodes = [await around.startNode('first'), await around.startNode('second')]
      try {
        const sending = around.sender.send(take('pooled', DELIVERIES), 32)
        await until(30 * SECOND, () => around.sender.sent.length > DELIVERIES / 2)
        nodes[1]!.kill()
        await sending
        await until(60 * SECOND, () => {
          around.witness.look()
          return unfinished(around.sender.sent, around.witness.places).every(({ kind }) => kind === 'none')
        })
        await pause(systemClock, SECOND, { keepAlive: true })
        around.witness.look()
        const { sent } = around.sender
        expect(sent.length).toBeGreaterThanOrEqual(DELIVERIES)
        const held = await around.ask<{ id: string }>(
          `select e.provider_event_id as id from runs r join events e on e.tenant = r.tenant and e.id = r.event_id where r.state = 'held'`,
        )
        const isHeld = new Set(held!.map(({ id }) => id))
        const { violations } = judge({
          sent,
          places: around.witness.places,
          stateOf: (id) => (isHeld.has(id) ? 'held' : 'not held'),
        })
        expect(violations).toEqual([])
      } finally {
        await Promise.all(nodes.map((node) => endNode(node)))
        await around.close()
      }
    },
    3 * 60 * SECOND,
  )

  it('a transaction has the limits that a session would have had', async () => {
    const database = openDatabase({ url: pooler.through(postgres.url), statementTimeoutMs: 7_000 })
    try {
      const shown = await transaction(database.pool, async (client) => ({
        statement: (await client.query<{ statement_timeout: string }>('show statement_timeout')).rows[0],
        silent: (
          await client.query<{ idle_in_transaction_session_timeout: string }>(
            'show idle_in_transaction_session_timeout',
          )
        ).rows[0],
      }))
      expect(shown.statement).toEqual({ statement_timeout: '7s' })
      expect(shown.silent).toEqual({ idle_in_transaction_session_timeout: '4s' })
    } finally {
      await database.close()
    }
  })

  it('says what to write where it was not told of the pooler', async () => {
    const database = openDatabase({ url: pooler.through(postgres.url, false) })
    try {
      await expect(transaction(database.pool, (client) => client.query('select 1'))).rejects.toThrow(
        /add \?pgbouncer=true to DATABASE_URL/,
      )
    } finally {
      await database.close()
    }
  })

  it('the test notices: with names, statements of one client meet those of another', async () => {
    const lenient = await startPgBouncer({
      serverUrl: postgres.url,
      poolSize: 1,
      settings: {
        ignore_startup_parameters: 'options,statement_timeout,idle_in_transaction_session_timeout',
      },
    })
    const databases = [false, false, true].map((told) =>
      openDatabase({ url: lenient.through(postgres.url, told), max: 1 }),
    )
    try {
      const ask = (at: number): Promise<unknown> =>
        databases[at]!.pool.query({ name: 'same', text: 'select $1::int as n', values: [at] })
      await ask(0)
      await expect(ask(1)).rejects.toThrow(/prepared statement "same" already exists/)
      await expect(ask(2)).resolves.toMatchObject({ rows: [{ n: 2 }] })
    } finally {
      for (const database of databases) await database.close()
      await lenient.stop()
    }
  })
})

/** Errands with that many deliveries, about. */
function* take(seed: string, deliveries: number): Generator<Errand, void> {
  let taken = 0
  for (const errand of errands(seed, seed)) {
    if (taken >= deliveries) return
    taken += errand.length
    yield errand
  }
}
