import { afterAll, beforeAll, expect, it } from 'vitest'
import type pg from 'pg'
import { createTestDatabase, type TestDatabase } from '../../tests/support/database.ts'
import { acme, startTestEngine } from '../../tests/support/engine.ts'
import { defineFlow, type AnyFlow } from '../define/index.ts'

/**
 * Where the tables are distributed by tenant, a statement that does not name the tenant asks every shard. There is no
 * such database in these tests, so the statements themselves are read.
 */
let testDatabase: TestDatabase
beforeAll(async () => {
  testDatabase = await createTestDatabase()
})
afterAll(() => testDatabase.drop())

const TABLES =
  'connections|deliveries|event_keys|events|event_fields|lanes|runs|journal|attempts|waits|quarantine|ledger'

/** What of the statement reads or writes a table of a tenant without saying which tenant's; in words. */
function withoutTenant(text: string): string[] {
  const found: string[] = []
  const uses = text.matchAll(
    new RegExp(
      `\\b(from|join|update|into)\\s+(${TABLES})\\b(?:\\s+(?:as\\s+)?(?!where|on|set|join|order|using|values|select|cross|limit)([a-z_]+))?`,
      'gi',
    ),
  )
  for (const [, verb, table, alias] of uses) {
    const columns = new RegExp(`into\\s+${table}(?:\\s+as\\s+\\w+)?\\s*\\(\\s*tenant\\b`, 'i')
    const named = new RegExp(
      `(\\b${alias ?? table}\\.tenant\\s*=|=\\s*${alias ?? table}\\.tenant\\b|where\\s+tenant\\s*=|\\(tenant,\\s*\\w+\\)\\s+in\\b|using\\s*\\(tenant\\b)`,
      'i',
    )
    if (!(verb!.toLowerCase() === 'into' ? columns : named).test(text)) found.push(`${verb} ${table}`)
  }
  return found
}

it('every statement on the path of a delivery names the tenant of each table', async () => {
  const statements = new Set<string>()
  const engine = await startTestEngine(testDatabase, {
    flows: [
      defineFlow({
        name: 'test',
        on: acme.on('thing.happened'),
        key: (event) => event.data.customer as string,
        async run({ use, step, waitFor }) {
          await use(acme).things.create({ a: 1 })
          await use(acme).things.post({ a: 2 })
          await step('local', () => 1)
          await waitFor(acme.on('thing.answered'), { on: 'data.customer', equals: 'c', timeout: '1 day' })
        },
      }) as AnyFlow,
    ],
    idle: true,
  })
  // The engine and the inbox share the pool; some of its connections are open already.
  const read = new WeakSet<pg.PoolClient>()
  engine.database.pool.on('acquire', (client) => {
    if (!read.has(client)) readStatements(client, statements)
    read.add(client)
  })
  try {
    await engine.engine.start()
    const { runs } = await engine.deliver('thing.happened', { n: 1, customer: 'c' })
    await engine.reached(runs[0]!, 'waiting')
    await engine.deliver('thing.answered', { customer: 'c' })
    await engine.reached(runs[0]!, 'succeeded')
  } finally {
    await engine.stop()
  }
  const hot = [...statements].filter((text) => !UPKEEP.some((upkeep) => text.includes(upkeep)))
  expect(hot.filter((text) => new RegExp(`\\b(${TABLES})\\b`).test(text)).length).toBeGreaterThan(10)
  expect(hot.flatMap((text) => withoutTenant(text).map((what) => `${what} in: ${text}`))).toEqual([])
})

/** Not of any one tenant, and not on the path of a delivery: each node's upkeep, once a second or less. */
const UPKEEP = [
  'n.heartbeat_at', // who is dead
  'where node_id = $1', // strays
  'with due as', // the sweep
  'with recursive lane as', // lanes whose first run may be asleep
  'node_id = any($1)', // rescue
]

it('the test notices a statement that names no tenant', () => {
  expect(withoutTenant('select * from runs where id = $1')).toEqual(['from runs'])
  expect(withoutTenant('insert into events (id) values ($1)')).toEqual(['into events'])
  expect(withoutTenant('update runs r set state = $1 from u where r.tenant = u.tenant')).toEqual([])
})

function readStatements(client: pg.PoolClient, into: Set<string>): void {
  const query = client.query.bind(client) as (...given: unknown[]) => unknown
  client.query = ((...given: unknown[]) => {
    const [first] = given as [string | { text?: string }]
    into.add(typeof first === 'string' ? first : (first.text ?? ''))
    return query(...given)
  }) as typeof client.query
}
