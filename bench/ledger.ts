/**
 * What the ledger costs: preparing and hashing entries, redaction, writing, sealing and verifying.
 *
 *     npm run build && node dist/bench/ledger.js [--json]
 *
 * With DATABASE_URL (an empty database; its tables are made, and emptied at the end) also what goes through PostgreSQL.
 * No assertion on time; the last line of --json is one object.
 */
import { systemClock, systemRandom, type Clock } from '../src/base/index.ts'
import { migrate, openDatabase, transaction, type Database } from '../src/db/index.ts'
import {
  databaseSource,
  ensurePartitions,
  openLedgerKey,
  Redactor,
  verifyLedger,
  writeEntries,
  type Exchange,
  type LedgerEntry,
} from '../src/ledger/index.ts'
import { sealBatches } from '../src/ledger/sealer.ts'
import { batchValues } from '../src/ledger/write.ts'

const BATCH = 200
const clock: Clock = systemClock

const BODY = JSON.stringify({
  id: 'evt_1OqXYZ2eZvKYlo2C',
  object: 'event',
  api_version: '2024-06-20',
  data: {
    object: {
      id: 'pi_3OqXYZ2eZvKYlo2C0abcdefg',
      amount: 1999,
      currency: 'usd',
      client_secret: 'pi_3OqXYZ2eZvKYlo2C0abcdefg_secret_0123456789abcdef',
      receipt_email: 'ada@example.com',
      description: 'Order 1042 for Ada Lovelace',
      metadata: { order: '1042', shop: 'north', note: 'leave it with the neighbour' },
      charges: { data: [{ id: 'ch_1', paid: true, payment_method_details: { card: { last4: '4242' } } }] },
      lines: Array.from({ length: 5 }, (_, i) => ({ sku: `sku-${i}`, quantity: i, price: 399 + i })),
    },
  },
  livemode: false,
})

const EXCHANGE: Exchange = {
  request: {
    method: 'POST',
    url: 'https://api.example.com/v1/payments?expand=customer&limit=3',
    headers: {
      authorization: 'Bearer sk_test_0123456789abcdefghij',
      'content-type': 'application/json',
      'idempotency-key': 'run_01.payments.create.0',
      'user-agent': 'trestle',
    },
    body: BODY,
  },
  answer: {
    status: 200,
    headers: {
      'content-type': 'application/json',
      'x-request-id': 'req_1',
      date: 'Sun, 22 Nov 2026 09:00:00 GMT',
    },
    body: BODY,
  },
}

const redactor = new Redactor({
  secretValues: ['sk_test_0123456789abcdefghij', 'whsec_0123456789abcdefghijklmnopqrst'],
  secretPaths: ['data.object.client_secret'],
})

function entries(count: number, detail: unknown): LedgerEntry[] {
  return Array.from({ length: count }, (_, i) => ({
    tenant: 'default',
    at: clock.now(),
    actor: 'provider:stripe',
    action: 'call.succeeded',
    target: `att_01abcdefghjkmnpqrstvwx${i}`,
    outcome: 'succeeded',
    runId: `run_01abcdefghjkmnpqrstvwx${i}`,
    connectionId: 'con_01abcdefghjkmnpqrstvwxyz01',
    ...(detail === undefined ? {} : { detail }),
  }))
}

/**
 * How often `work` is done in a second of processor time, after a warm-up: other programs on the machine do not count.
 */
function rate(perTurn: number, work: () => void): number {
  const busyMs = (): number => {
    const { user, system } = process.cpuUsage()
    return (user + system) / 1_000
  }
  const until = (ms: number): { turns: number; ms: number } => {
    const start = busyMs()
    let turns = 0
    while (busyMs() - start < ms) {
      for (let i = 0; i < 10; i++) work()
      turns += 10
    }
    return { turns, ms: busyMs() - start }
  }
  until(300)
  const { turns, ms } = until(1_000)
  return Math.round((turns * perTurn * 1_000) / ms)
}

function preparing(): Record<string, number> {
  const plain = entries(BATCH, undefined)
  const withExchange = entries(BATCH, redactor.exchange(EXCHANGE))
  return {
    entries_hashed_per_s: rate(BATCH, () => void batchValues(plain)),
    entries_with_exchange_hashed_per_s: rate(BATCH, () => void batchValues(withExchange)),
    exchanges_redacted_per_s: rate(1, () => void redactor.exchange(EXCHANGE)),
    bodies_redacted_per_s: rate(1, () => void redactor.body(BODY, { 'content-type': 'application/json' })),
    body_bytes: Buffer.byteLength(BODY),
  }
}

async function throughPostgres(database: Database): Promise<Record<string, number>> {
  const { pool } = database
  await migrate(database)
  await ensurePartitions(pool, clock.now())
  const result: Record<string, number> = {
    entries_written_per_s: await writing(database, entries(BATCH, undefined), 200),
    entries_with_exchange_written_per_s: await writing(
      database,
      entries(BATCH, redactor.exchange(EXCHANGE)),
      50,
    ),
  }
  const key = await openLedgerKey(pool, { seal: (plain) => plain, open: (sealed) => sealed }, systemRandom)
  const sealed = await timed(() => sealBatches({ pool, key, clock }))
  result['batches_sealed_per_s'] = Math.round((250 * 1_000) / sealed.ms)
  const { value: report, ms } = await timed(() =>
    transaction(pool, async (client) => {
      await client.query('set transaction isolation level repeatable read read only')
      return verifyLedger({ source: databaseSource(client), checkpoints: [], publicKeys: [key.publicKey] })
    }),
  )
  if (!report.ok) throw new Error(`The ledger does not verify: ${JSON.stringify(report.problems[0])}`)
  result['entries_verified_per_s'] = Math.round((report.checked.entries * 1_000) / ms)
  const size = await pool.query<{ bytes: string }>(
    `select sum(pg_total_relation_size(inhrelid)) as bytes from pg_inherits where inhparent = 'ledger'::regclass`,
  )
  result['bytes_per_entry'] = Math.round(Number(size.rows[0]!.bytes) / report.checked.entries)
  return result
}

/** Two writers at once, as group commit has, each batch a transaction of its own. */
async function writing(database: Database, batch: readonly LedgerEntry[], batches: number): Promise<number> {
  const { ms } = await timed(() =>
    Promise.all(
      [1, 2].map(async () => {
        for (let i = 0; i < batches / 2; i++)
          await transaction(database.pool, (client) => writeEntries(client, batch))
      }),
    ),
  )
  return Math.round((batches * batch.length * 1_000) / ms)
}

async function timed<Value>(work: () => Promise<Value>): Promise<{ value: Value; ms: number }> {
  const start = clock.monotonic()
  const value = await work()
  return { value, ms: clock.monotonic() - start }
}

const figures = preparing()
const url = process.env['DATABASE_URL']
if (url !== undefined) {
  const database = openDatabase({ url, max: 4 })
  try {
    Object.assign(figures, await throughPostgres(database))
    await database.pool.query('truncate ledger, ledger_batches, ledger_blocks, installation')
  } finally {
    await database.close()
  }
}
if (process.argv.includes('--json')) process.stdout.write(`${JSON.stringify({ ledger: figures })}\n`)
else
  for (const [name, value] of Object.entries(figures)) process.stdout.write(`${name.padEnd(40)} ${value}\n`)
