import { openDatabase, type Database } from '../src/db/index.ts'
import { ensurePartitions } from '../src/ledger/index.ts'
import { round, type Latency } from './parts/histogram.ts'
import { setStage, type Stage } from './parts/stage.ts'
import type { Child } from './parts/child.ts'

/** Rows of the ledger at full size; there are a tenth as many waiting runs, deliveries, events and keys. */
const LEDGER_ROWS = 10_000_000
const RUNS_SHARE = 0.1
const DAYS = 10
const ENTRIES_PER_BATCH = 10
const DAY_MS = 86_400_000
const ROUNDS = 5
/** Webhooks a second: far from what the machine can do, so that what is compared is the work, not the queue. */
const RATE = 100

interface Measured {
  readonly acknowledgedP99: number
  readonly claimP99: number
}

/**
 * What an installation that has grown costs: p99 of the acknowledgement and of a claim, with 1,000,000 runs waiting
 * and 10,000,000 ledger rows, against an empty database on the same server. The two are loaded in turns, and the
 * medians of the rounds are compared, so that a moment in which the machine was busy counts for neither.
 */
export async function growth(
  seconds: number,
  { rows: ledgerRows = LEDGER_ROWS }: { readonly rows?: number | undefined } = {},
): Promise<Record<string, unknown>> {
  const stage = await setStage()
  try {
    const grownUrl = await createDatabase(stage, 'grown')
    // Each makes its tables.
    const empty = await stage.startNode(['intake', 'worker'])
    await (await stage.startNode(['intake'], grownUrl)).stop()
    const waitingRuns = Math.round(ledgerRows * RUNS_SHARE)
    const begun = performance.now()
    const bytes = await grow(grownUrl, waitingRuns, ledgerRows)
    const filledSeconds = round((performance.now() - begun) / 1000, 0)
    const grown = await stage.startNode(['intake', 'worker'], grownUrl)

    for (const node of [empty, grown]) await measure(stage, node, 3)
    const rounds: { empty: Measured; grown: Measured }[] = []
    for (let i = 0; i < ROUNDS; i++) {
      const ofEmpty = await measure(stage, empty, seconds / 2)
      rounds.push({ empty: ofEmpty, grown: await measure(stage, grown, seconds / 2) })
    }
    const ratioOf = (what: keyof Measured): Record<string, number> => {
      const before = median(rounds.map((one) => one.empty[what]))
      const after = median(rounds.map((one) => one.grown[what]))
      return { emptyP99Ms: before, grownP99Ms: after, ratio: round(after / before) }
    }
    return {
      waitingRuns,
      ledgerRows,
      filledSeconds,
      databaseBytes: bytes,
      acknowledged: ratioOf('acknowledgedP99'),
      claim: ratioOf('claimP99'),
    }
  } finally {
    await stage.close()
  }
}

async function measure(stage: Stage, node: Child, seconds: number): Promise<Measured> {
  const { calls: before } = await stage.provider.ask<{ calls: number }>({})
  await node.ask({})
  const load = await stage.load(node, { rate: RATE, seconds, connections: 16 })
  for (;;) {
    const { calls } = await stage.provider.ask<{ calls: number }>({})
    if (calls - before >= load.accepted * 2) break
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  const { claims } = await node.ask<{ claims: Latency }>({})
  return { acknowledgedP99: load.latency.p99, claimP99: claims.p99 }
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1]!
}

async function createDatabase(stage: Stage, name: string): Promise<string> {
  await stage.database.pool.query(`create database ${name}`)
  const url = new URL(stage.databaseUrl)
  url.pathname = `/${name}`
  return url.href
}

/** Fills the tables as years of work would, the ledger beside the rest; gives the bytes of the database. */
async function grow(url: string, runs: number, ledgerRows: number): Promise<number> {
  const database = openDatabase({ url, max: 2, statementTimeoutMs: 3_600_000 })
  try {
    const today = Date.now()
    for (let i = 0; i < DAYS; i++) await ensurePartitions(database.pool, today - i * DAY_MS)
    // Checkpoints for every gigabyte would write most pages many times. Both databases are on this server.
    await database.pool.query(`alter system set max_wal_size = '16GB'`)
    await database.pool.query('select pg_reload_conf()')
    await Promise.all([fill(database, runStatements(runs), runs), fill(database, [LEDGER], ledgerRows)])
    await fill(database, [BATCHES], Math.round(ledgerRows / ENTRIES_PER_BATCH))
    await database.pool.query('vacuum (analyze)')
    await database.pool.query('checkpoint')
    const { rows } = await database.pool.query<{ bytes: string }>(
      'select pg_database_size(current_database()) as bytes',
    )
    return Number(rows[0]!.bytes)
  } finally {
    await database.close()
  }
}

const AT_ONCE = 250_000

/** `$1` to `$2` are the numbers of the rows, `$3` is how many there are in all. */
async function fill(database: Database, statements: readonly string[], count: number): Promise<void> {
  const client = await database.pool.connect()
  try {
    await client.query('set synchronous_commit = off')
    for (const statement of statements)
      for (let from = 1; from <= count; from += AT_ONCE) {
        const to = Math.min(count, from + AT_ONCE - 1)
        await client.query(statement, [from, to, count])
        process.stderr.write(`  ${/insert into (\w+)/.exec(statement)![1]} ${to} of ${count}\n`)
      }
  } finally {
    client.release()
  }
}

const numbered = 'generate_series($1::int, $2::int) n, (select $3::int as count) c'
/** Ids of a time before any that the benchmark makes. */
const id = (prefix: string): string => `'${prefix}_000' || lpad(n::text, 23, '0')`

function runStatements(runs: number): readonly string[] {
  if (runs === 0) return []
  const connection = `(select id from connections limit 1)`
  return [
    `insert into deliveries (tenant, id, connection_id, state, headers, content_type, body, event_count, received_at)
     select 'default', ${id('dlv')}, ${connection}, 'accepted', '\\x7b7d', 'application/json', convert_to('{"id":"old_' || n || '"}', 'UTF8'), 1, now() - interval '1 day' from ${numbered}`,
    `insert into events (tenant, id, connection_id, delivery_id, type, provider_event_id, state, data_at, received_at)
     select 'default', ${id('evt')}, ${connection}, ${id('dlv')}, 'payment.succeeded', 'old_' || n, 'dispatched', '/data', now() - interval '1 day' from ${numbered}`,
    `insert into event_keys (tenant, connection_id, key_hash, kind, event_id)
     select 'default', ${connection}, sha256(n::text::bytea), 'id', ${id('evt')} from ${numbered}`,
    `insert into runs (tenant, id, flow, flow_version, event_id, root_run_id, state, fence, claims, due_at, waits, created_at, claimed_at)
     select 'default', ${id('run')}, 'paid', 1, ${id('evt')}, ${id('run')}, 'waiting', 1, 0, now() + interval '30 days' + n * interval '1 ms',
       '[{"kind":"sleep","name":"sleep","ordinal":1,"until":' || (extract(epoch from now() + interval '30 days') * 1000)::bigint + n || '}]',
       now() - interval '1 day', now() - interval '1 day' from ${numbered}`,
    `insert into journal (tenant, run_id, seq, kind, name, ordinal, outcome, result, finished_at)
     select 'default', ${id('run')}, 1, 'operation', 'acme.contacts.upsert', 1, 'succeeded', '\\x7b7d', now() - interval '1 day' from ${numbered}`,
  ]
}

/** Oldest first, an equal share for each day. */
const LEDGER = `insert into ledger (tenant, day, id, batch_id, position, at, actor, action, target, outcome, run_id, entry)
  select 'default', (now() at time zone 'UTC' - age)::date, ${id('led')}, 'bat_000' || lpad((n / ${ENTRIES_PER_BATCH})::text, 23, '0'), n % ${ENTRIES_PER_BATCH}, now() - age,
    'flow:paid', 'call.succeeded', ${id('run')}, 'succeeded', ${id('run')}, convert_to(repeat('x', 300), 'UTF8')
  from ${numbered}, lateral (select interval '1 day' * floor(${DAYS}::float8 * (c.count - n) / c.count) as age) a`

const BATCHES = `insert into ledger_batches (id, at, entries, root, block)
  select ${id('bat')}, now() - interval '1 hour', ${ENTRIES_PER_BATCH}, sha256(n::text::bytea), 0 from ${numbered} where c.count > 0`
