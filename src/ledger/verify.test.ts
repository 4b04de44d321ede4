import type pg from 'pg'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { DAY, SECOND, seededRandom } from '../base/index.ts'
import { openDatabase, transaction, type Database } from '../db/index.ts'
import { createTestDatabase, type TestDatabase } from '../../tests/support/database.ts'
import { makeCheckpoint, type Checkpoint } from './block.ts'
import { utcDay, type LedgerEntry } from './entry.ts'
import { openLedgerKey, type LedgerKey } from './key.ts'
import { merkleRoot } from './merkle.ts'
import { dropExpired, ensurePartitions } from './partitions.ts'
import type { ProblemCode, VerifyReport } from './report.ts'
import { makeBlock, sealBatches } from './sealer.ts'
import { databaseSource } from './source.ts'
import { verifyLedger } from './verify.ts'
import { writeEntries } from './write.ts'

const PLAIN = { seal: (plain: Buffer) => plain, open: (sealed: Buffer) => sealed }
const NOON = Date.parse('2026-11-20T12:00:00Z')

let file: TestDatabase
let database: Database
let pool: pg.Pool
let key: LedgerKey
let checkpoints: Checkpoint[]
let now: number

beforeAll(async () => {
  file = await createTestDatabase()
  database = openDatabase({ url: file.url, max: 5 })
  pool = database.pool
})
afterAll(async () => {
  await database.close()
  await file.drop()
})

/** Three blocks of four batches of five entries, and a tail of one batch. */
beforeEach(async () => {
  now = NOON
  checkpoints = []
  await pool.query('drop schema if exists older cascade')
  await pool.query('truncate ledger, ledger_batches, ledger_blocks, installation')
  await ensurePartitions(pool, now)
  key = await openLedgerKey(pool, PLAIN, seededRandom('ledger'))
  for (let block = 0; block < 3; block++) {
    for (let batch = 0; batch < 4; batch++) await write(5)
    await seal()
  }
  await write(5)
})

let written = 0

async function write(count: number, at = now): Promise<void> {
  const entries = Array.from({ length: count }, (_, i): LedgerEntry => ({
    tenant: i % 2 === 0 ? 'default' : 'other',
    at: at - i,
    actor: 'provider:stripe',
    action: 'call.succeeded',
    target: `att_${++written}`,
    outcome: 'succeeded',
    runId: i === 0 ? undefined : `run_${i}`,
    connectionId: 'con_1',
    detail: { amount: written },
  }))
  await transaction(pool, (client) => writeEntries(client, entries))
}

async function seal(): Promise<void> {
  now += 25 * SECOND
  const blocks = await sealBatches({ pool, key, clock: { now: () => now } })
  checkpoints.push(...blocks.map((block) => makeCheckpoint(block, key.publicKey)))
}

function verify(options: { keepDays?: number; publicKeys?: Buffer[] } = {}): Promise<VerifyReport> {
  return transaction(pool, async (client) => {
    await client.query('set transaction isolation level repeatable read read only')
    return verifyLedger({
      source: databaseSource(client),
      checkpoints,
      publicKeys: [key.publicKey],
      ...options,
    })
  })
}

async function problems(options?: { keepDays?: number }): Promise<ProblemCode[]> {
  const report = await verify(options)
  expect(report.ok).toBe(report.problems.length === 0)
  return report.problems.map((problem) => problem.code)
}

/** As a superuser, who may also write to a partition directly. */
async function tamper(statement: string): Promise<void> {
  const result = await pool.query(statement)
  expect(result.rowCount, 'the tampering must have done something').toBeGreaterThan(0)
}

/** The nth entry from the start, as a condition. */
function nth(n: number): string {
  return `id = (select id from ledger order by id offset ${n} limit 1)`
}

describe('verification', () => {
  it('passes an untouched ledger, and says what is not proved yet', async () => {
    const report = await verify()
    expect(report).toEqual({
      ok: true,
      checked: { entries: 65, batches: 13, blocks: 3 },
      checkpoints: { given: 3, matched: 3, newest: 3 },
      unsealed: { entries: 5, batches: 1, since: expect.any(Number) },
      unconfirmed: { entries: 0, blocks: 0 },
      gaps: [],
      problems: [],
      problemCount: 0,
    })
  })

  it('passes a ledger without entries', async () => {
    await pool.query('truncate ledger, ledger_batches, ledger_blocks')
    checkpoints = []
    expect((await verify()).ok).toBe(true)
  })

  it('says how much no checkpoint confirms', async () => {
    checkpoints.splice(1)
    const report = await verify()
    expect(report.ok).toBe(true)
    expect(report.unconfirmed).toEqual({ entries: 40, blocks: 2 })
  })

  const SWAP = `update ledger as l set entry = o.entry, actor = o.actor, at = o.at, target = o.target, run_id = o.run_id
     from ledger as o where l.batch_id = o.batch_id and l.tenant = o.tenant and l.position in (0, 2) and o.position = 2 - l.position
     and l.batch_id = (select min(batch_id) from ledger)`

  it.each<[string, string, ProblemCode[]]>([
    [
      'an altered entry',
      `update ledger set entry = replace(encode(entry, 'escape'), 'succeeded', 'failed')::bytea where ${nth(7)}`,
      ['column_changed', 'batch_changed'],
    ],
    ['a deleted entry', `delete from ledger where ${nth(7)}`, ['batch_changed']],
    ['a deleted entry of the unsealed tail', `delete from ledger where ${nth(64)}`, ['batch_changed']],
    [
      'an inserted entry',
      `insert into ledger select tenant, day, id || 'x', batch_id, 5, at, actor, action, target, outcome, run_id, connection_id, entry from ledger where ${nth(7)}`,
      ['column_changed', 'batch_changed'],
    ],
    [
      'an entry inserted with a batch of its own',
      `insert into ledger select tenant, day, id || 'x', 'bat_x', 0, at, actor, action, target, outcome, run_id, connection_id, entry from ledger where ${nth(7)}`,
      ['entry_inserted'],
    ],
    [
      'two entries in each other’s place',
      `update ledger set position = case position when 1 then 3 else 1 end where position in (1, 3) and batch_id = (select min(batch_id) from ledger)`,
      ['batch_changed'],
    ],
    [
      'entries with other positions',
      `update ledger set position = position * 2 where batch_id = (select min(batch_id) from ledger)`,
      ['batch_changed'],
    ],
    ['two entries with each other’s content', SWAP, ['column_changed', 'column_changed', 'batch_changed']],
    [
      'an entry moved to another batch',
      `update ledger set batch_id = (select max(batch_id) from ledger), position = 5 where ${nth(7)}`,
      ['batch_changed', 'batch_changed'],
    ],
    [
      'an entry moved to another day',
      `update ledger set day = day + 1 where ${nth(7)}`,
      ['batch_changed', 'entry_inserted'],
    ],
    [
      'a batch without its entries',
      `delete from ledger where batch_id = (select min(batch_id) from ledger)`,
      ['entries_missing'],
    ],
    [
      'an unsealed batch without its entries',
      `delete from ledger where batch_id = (select max(batch_id) from ledger)`,
      ['entries_missing'],
    ],
    [
      'a batch removed with its entries',
      `with gone as (delete from ledger_batches where id = (select min(id) from ledger_batches) returning id) delete from ledger using gone where batch_id = gone.id`,
      ['block_changed'],
    ],
    [
      'a batch unsealed',
      `update ledger_batches set block = null where id = (select min(id) from ledger_batches)`,
      ['block_changed'],
    ],
    [
      'a batch moved to another block',
      `update ledger_batches set block = 2 where id = (select min(id) from ledger_batches)`,
      ['block_changed', 'block_changed'],
    ],
    [
      'a batch said to be in a block that is not there',
      `update ledger_batches set block = 9 where block is null`,
      ['batch_inserted'],
    ],
    [
      'a batch with another count',
      `update ledger_batches set entries = 6 where id = (select min(id) from ledger_batches)`,
      ['batch_changed', 'block_changed'],
    ],
    [
      'a batch with another time',
      `update ledger_batches set at = at + interval '1 s' where id = (select min(id) from ledger_batches)`,
      ['block_changed'],
    ],
    [
      'all batches of a block removed',
      `with gone as (delete from ledger_batches where block = 1 returning id) delete from ledger using gone where batch_id = gone.id`,
      ['batches_missing'],
    ],
    [
      'a block with another time',
      `update ledger_blocks set at = at + interval '1 s' where number = 2`,
      ['signature_invalid', 'checkpoint_differs', 'chain_broken'],
    ],
    [
      'a block with another predecessor',
      `update ledger_blocks set previous = root where number = 2`,
      ['chain_broken', 'signature_invalid', 'checkpoint_differs', 'chain_broken'],
    ],
    [
      'a block removed from the middle',
      `with gone as (delete from ledger_batches where block = 2 returning id), block as (delete from ledger_blocks where number = 2) delete from ledger using gone where batch_id = gone.id`,
      ['block_missing'],
    ],
    [
      'the newest block removed with all that is in it',
      `with gone as (delete from ledger_batches where block = 3 or block is null returning id), block as (delete from ledger_blocks where number = 3) delete from ledger using gone where batch_id = gone.id`,
      ['truncated'],
    ],
    [
      'everything removed',
      `with batches as (delete from ledger_batches), blocks as (delete from ledger_blocks) delete from ledger`,
      ['truncated'],
    ],
  ])('finds %s', async (_what, statement, expected) => {
    await tamper(statement)
    expect(await problems()).toEqual(expected)
  })

  it.each(['tenant', 'actor', 'action', 'target', 'outcome', 'run_id', 'connection_id', 'id'])(
    'finds the copied column %s changed',
    async (column) => {
      await tamper(`update ledger set ${column} = ${column} || 'x' where ${nth(8)}`)
      expect(await problems()).toEqual(['column_changed'])
    },
  )

  it('finds the copied column at changed', async () => {
    await tamper(`update ledger set at = at + interval '1 ms' where ${nth(8)}`)
    expect(await problems()).toEqual(['column_changed'])
  })

  it('finds a change although batch and block were made to fit, for want of the key', async () => {
    const target = nth(7)
    await tamper(
      `update ledger set outcome = 'failed', entry = replace(encode(entry, 'escape'), '"outcome":"succeeded"', '"outcome":"failed"')::bytea where ${target}`,
    )
    await mendBatch()
    expect(await problems()).toEqual(['block_changed'])
    await mendBlock(1)
    expect(await problems()).toEqual(['signature_invalid', 'checkpoint_differs', 'chain_broken'])
  })

  it('finds a whole ledger rewritten under another key', async () => {
    await pool.query('truncate ledger, ledger_batches, ledger_blocks, installation')
    const trusted = key
    key = await openLedgerKey(pool, PLAIN, seededRandom('attacker'))
    const real = checkpoints
    checkpoints = []
    for (let block = 0; block < 3; block++) {
      await write(5)
      await seal()
    }
    expect((await verify()).ok).toBe(true)
    checkpoints = real
    key = trusted
    expect(new Set(await problems())).toEqual(new Set(['signature_invalid', 'checkpoint_differs']))
  })

  it('finds a database rolled back to an older copy, at once and after it went on', async () => {
    await pool.query(`create schema older`)
    for (const table of ['ledger', 'ledger_batches', 'ledger_blocks'])
      await pool.query(`create table older.${table} as table public.${table}`)
    await write(5)
    await seal()
    expect(await problems()).toEqual([])

    await pool.query('truncate ledger, ledger_batches, ledger_blocks')
    for (const table of ['ledger', 'ledger_batches', 'ledger_blocks'])
      await pool.query(`insert into public.${table} select * from older.${table}`)
    expect(await problems()).toEqual(['truncated'])

    const kept = [...checkpoints]
    now += DAY / 24
    await write(3)
    await seal()
    checkpoints = kept
    expect(await problems()).toEqual(['checkpoint_differs'])
    // Control: without the checkpoints kept outside, nobody could tell.
    checkpoints = []
    expect(await problems()).toEqual([])
  })

  it('finds checkpoints that were changed or that contradict each other', async () => {
    checkpoints[1] = { ...checkpoints[1]!, entries: 21 }
    expect(await problems()).toEqual(['checkpoint_differs', 'checkpoint_forged'])
    checkpoints.splice(1, 1)
    checkpoints.push({ ...checkpoints[0]!, at: 1 })
    expect(await problems()).toEqual(['checkpoint_differs', 'checkpoint_forged'])
  })

  it.each([
    null,
    5,
    {},
    { number: 'x' },
    { number: 9, keyId: '', signature: 'zz' },
    { number: 9, at: 1, batches: 1, entries: 1, keyId: '', root: 55 },
  ])('finds a line of checkpoints that is none: %j', async (line) => {
    checkpoints.push(line as unknown as Checkpoint)
    expect(await problems()).toEqual(['checkpoint_forged'])
  })

  it('finds a signature that is cut short', async () => {
    await tamper(`update ledger_blocks set signature = substring(signature from 1 for 10) where number = 2`)
    expect(await problems()).toEqual(['signature_invalid'])
    checkpoints[0] = { ...checkpoints[0]!, signature: '00' }
    expect(await problems()).toEqual(['signature_invalid', 'checkpoint_forged'])
  })

  it('finds a batch that is there twice', async () => {
    await pool.query('alter table ledger_batches drop constraint ledger_batches_pkey')
    try {
      await tamper('insert into ledger_batches select * from ledger_batches order by id limit 1')
      expect(await problems()).toEqual(['batch_inserted', 'entries_missing', 'block_changed'].sort())
    } finally {
      await pool.query('truncate ledger_batches')
      await pool.query('alter table ledger_batches add primary key (id)')
    }
  })

  it('takes repeated and unordered checkpoints', async () => {
    checkpoints = [...checkpoints.toReversed(), ...checkpoints]
    expect((await verify()).checkpoints).toEqual({ given: 6, matched: 3, newest: 3 })
  })
})

describe('retention', () => {
  /** Forty days later: the first blocks are past keeping, some are not. */
  async function growOld(): Promise<void> {
    await seal()
    now = NOON + 40 * DAY
    await ensurePartitions(pool, now)
    await write(5)
    await seal()
  }

  async function expire(keepDays?: number): Promise<{ days: readonly string[]; prunedThrough: number }> {
    const expired = await transaction(pool, (client) => dropExpired(client, now, keepDays))
    await seal()
    return expired
  }

  it('drops what is old, and the verifier reports a stated gap', async () => {
    await growOld()
    const expired = await expire()
    expect(expired).toEqual({
      days: [utcDay(NOON - DAY), ...[0, 1, 2, 3].map((n) => utcDay(NOON + n * DAY))],
      prunedThrough: 4,
      more: false,
    })
    const report = await verify()
    expect(report.problems).toEqual([])
    expect(report.gaps).toEqual([{ what: 'blocks 1 to 4', batches: 13, entries: 65 }])
    expect(report.checked).toEqual({ entries: 6, batches: 2, blocks: 6 })
    // Nothing more to do, and nothing said about it.
    expect(await expire()).toEqual({ days: [], prunedThrough: 0, more: false })
  })

  it('goes on being verified when the statement itself has been dropped', async () => {
    await growOld()
    await expire()
    now += 40 * DAY
    await ensurePartitions(pool, now)
    await write(5)
    await seal()
    await expire()
    const report = await verify()
    expect(report.problems).toEqual([])
    expect(report.gaps).toEqual([{ what: 'blocks 1 to 6', batches: 15, entries: 71 }])
  })

  it('keeps the batches of a block that reaches into the kept days', async () => {
    await seal()
    now = NOON + DAY
    await ensurePartitions(pool, now)
    await write(2, NOON)
    await write(3)
    await seal()
    now = NOON + 31 * DAY
    await ensurePartitions(pool, now)
    expect((await expire()).prunedThrough).toBe(4)
    const report = await verify()
    expect(report.problems).toEqual([])
    expect(report.gaps).toEqual([
      { what: 'blocks 1 to 4', batches: 13, entries: 65 },
      { what: utcDay(NOON), batches: 1, entries: 2 },
    ])
  })

  it('drops nothing that is not sealed in a block', async () => {
    now = NOON + 40 * DAY
    await ensurePartitions(pool, now)
    expect(await transaction(pool, (client) => dropExpired(client, now))).toMatchObject({
      days: [utcDay(NOON - DAY)],
    })
    expect((await verify()).checked.entries).toBe(66)
    await seal()
    expect((await expire()).days).toContain(utcDay(NOON))
  })

  it('drops expired entries from the default partition too', async () => {
    await write(5, NOON - 20 * DAY)
    await growOld()
    expect((await pool.query('select from ledger_default')).rowCount).toBe(5)
    await expire()
    expect((await pool.query('select from ledger_default')).rowCount).toBe(0)
    expect(await problems()).toEqual([])
  })

  it('gives up after a moment where a reader holds the ledger, changing nothing', async () => {
    await growOld()
    const reader = await pool.connect()
    try {
      await reader.query('begin')
      await reader.query('select from ledger')
      await expect(expire()).rejects.toThrow(expect.objectContaining({ code: 'ledger_busy' }))
    } finally {
      await reader.query('rollback')
      reader.release()
    }
    expect((await verify()).gaps).toEqual([])
    expect((await expire()).prunedThrough).toBe(4)
  })

  it.each<[string, string, ProblemCode[]]>([
    [
      'a gap without a statement',
      `delete from ledger where action = 'ledger.expired'`,
      ['batches_missing', 'entries_missing'],
    ],
    [
      'entries removed after the gap',
      `delete from ledger where action <> 'ledger.expired'`,
      ['entries_missing'],
    ],
    [
      'batches removed after the gap',
      `with gone as (delete from ledger_batches where block = 5 returning id) delete from ledger using gone where batch_id = gone.id`,
      ['batches_missing'],
    ],
  ])('does not excuse %s', async (_what, statement, expected) => {
    await growOld()
    await expire()
    await tamper(statement)
    expect((await problems()).sort()).toEqual(expected)
  })

  it('keeps the batches of a block where one of them has a time ahead of it', async () => {
    await write(1, NOON + 11 * DAY)
    await growOld()
    expect((await expire()).prunedThrough).toBe(3)
    expect(await problems()).toEqual([])
    await tamper(
      `with gone as (delete from ledger_batches where block = 4 returning id) delete from ledger using gone where batch_id = gone.id`,
    )
    expect(await problems()).toEqual(['batches_missing'])
  })

  it('keeps the batches of a block that was sealed late', async () => {
    now = NOON + 35 * DAY
    await growOld()
    expect((await expire()).prunedThrough).toBe(3)
    const report = await verify()
    expect(report.problems).toEqual([])
    expect(report.gaps).toHaveLength(2)
  })

  const STATEMENT: LedgerEntry = {
    tenant: 'default',
    at: NOON + 40 * DAY,
    actor: 'system',
    action: 'ledger.expired',
    target: 'ledger',
    outcome: 'dropped',
    detail: { keptSince: '2026-11-25', prunedThrough: 2, keepDays: 30 },
  }
  const REMOVE = `with gone as (delete from ledger_batches where block < 3 returning id) delete from ledger using gone where batch_id = gone.id`

  it('excuses nothing by a statement that is not sealed yet', async () => {
    await growOld()
    await writeEntries(pool, [STATEMENT])
    await tamper(REMOVE)
    expect(await problems()).toEqual(['batches_missing'])
    // Control: what the statement says is old enough to be dropped, so once sealed it would excuse it.
    await seal()
    expect(await problems()).toEqual([])
  })

  it('excuses nothing by a statement in a block that was changed', async () => {
    await growOld()
    await writeEntries(pool, [STATEMENT])
    await tamper(`update ledger_batches set block = 5 where block is null`)
    await tamper(REMOVE)
    expect(await problems()).toEqual(['block_changed', 'batches_missing'])
    await tamper(`update ledger_blocks set batches = 2, entries = 6 where number = 5`)
    await mendBlock(5)
    expect(await problems()).toEqual(['signature_invalid', 'checkpoint_differs', 'batches_missing'])
  })

  it('excuses nothing by an entry that was made a statement', async () => {
    await growOld()
    await tamper(REMOVE)
    await tamper(
      `update ledger set entry = replace(replace(encode(entry, 'escape'), 'call.succeeded', 'ledger.expired'),
         '"detail":{', '"detail":{"keptSince":"2026-11-25","prunedThrough":2,')::bytea, action = 'ledger.expired'
       where batch_id = (select id from ledger_batches where block = 5)`,
    )
    expect(await problems()).toEqual(['batch_changed', 'batches_missing'])
  })

  it('does not excuse a gap by a statement that was smuggled in, however it was sealed', async () => {
    await transaction(pool, (client) =>
      writeEntries(client, [
        {
          tenant: 'default',
          at: now,
          actor: 'system',
          action: 'ledger.expired',
          target: 'ledger',
          outcome: 'dropped',
          detail: { keptSince: '2026-12-31', prunedThrough: 1000, keepDays: 0 },
        },
      ]),
    )
    await seal()
    await tamper(
      `with gone as (delete from ledger_batches where block < 3 returning id) delete from ledger using gone where batch_id = gone.id`,
    )
    expect(await problems()).toEqual(['batches_missing'])
  })

  it('does not excuse a gap within the days that the verifier wants kept', async () => {
    await growOld()
    await expire(10)
    expect(await problems({ keepDays: 10 })).toEqual([])
    expect(await problems({ keepDays: 35 })).toEqual([])
    expect(await problems({ keepDays: 41 })).toEqual(['batches_missing'])
  })
})

/** Makes the batch roots fit their entries, as an attacker would. */
async function mendBatch(): Promise<void> {
  const { rows } = await pool.query<{ batch_id: string; entries: Buffer[] }>(
    'select batch_id, array_agg(entry order by position) as entries from ledger group by batch_id',
  )
  for (const { batch_id, entries } of rows)
    await pool.query('update ledger_batches set root = $2 where id = $1', [batch_id, merkleRoot(entries)])
}

/** Makes a block fit its batches, with the signature that it had. */
async function mendBlock(number: number): Promise<void> {
  const { rows } = await pool.query<{ id: string; at: Date; entries: number; root: Buffer }>(
    'select id, at, entries, root from ledger_batches where block = $1 order by id collate "C"',
    [number],
  )
  const block = makeBlock(
    undefined,
    rows.map((row) => ({ ...row, at: row.at.getTime() })),
    key,
    now,
  )
  await pool.query('update ledger_blocks set root = $2 where number = $1', [number, block.root])
}
