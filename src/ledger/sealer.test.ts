import type pg from 'pg'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { SECOND, seededRandom, systemRandom } from '../base/index.ts'
import { openDatabase, transaction, type Database } from '../db/index.ts'
import { createFakeClock, type FakeClock } from '../testing/fakeClock.ts'
import { createTestDatabase, type TestDatabase } from '../../tests/support/database.ts'
import type { Checkpoint } from './block.ts'
import type { LedgerEntry } from './entry.ts'
import { openLedgerKey, type LedgerKey } from './key.ts'
import { LedgerSealer, sealBatches, type SealerOptions } from './sealer.ts'
import { databaseSource } from './source.ts'
import { verifyLedger } from './verify.ts'
import { writeEntries } from './write.ts'

const PLAIN = { seal: (plain: Buffer) => plain, open: (sealed: Buffer) => sealed }

let file: TestDatabase
let database: Database
let pool: pg.Pool
let key: LedgerKey
let clock: FakeClock

beforeAll(async () => {
  file = await createTestDatabase()
  database = openDatabase({ url: file.url, max: 20 })
  pool = database.pool
})
afterAll(async () => {
  await database.close()
  await file.drop()
})
beforeEach(async () => {
  await pool.query('truncate ledger, ledger_batches, ledger_blocks, installation')
  key = await openLedgerKey(pool, PLAIN, seededRandom('sealer'))
  clock = createFakeClock()
})

function entry(target: string): LedgerEntry {
  return {
    tenant: 'default',
    at: clock.now(),
    actor: 'system',
    action: 'run.succeeded',
    target,
    outcome: 'succeeded',
  }
}

const write = (target: string) => transaction(pool, (client) => writeEntries(client, [entry(target)]))
const seal = () => sealBatches({ pool, key, clock })

async function blockOf(target: string): Promise<number | null> {
  const { rows } = await pool.query<{ block: string | null }>(
    'select block from ledger join ledger_batches on ledger_batches.id = batch_id where target = $1',
    [target],
  )
  return rows[0]!.block === null ? null : Number(rows[0]!.block)
}

async function expectVerified(blocks: number): Promise<void> {
  const report = await transaction(pool, async (client) => {
    await client.query('set transaction isolation level repeatable read read only')
    return verifyLedger({
      source: databaseSource(client),
      checkpoints: [],
      publicKeys: [key.publicKey],
    })
  })
  expect(report.problems).toEqual([])
  expect(report.checked.blocks).toBe(blocks)
  expect(report.unsealed.batches).toBe(0)
}

describe('sealing', () => {
  it('makes no block where there is nothing to seal', async () => {
    expect(await seal()).toEqual([])
    await write('a')
    expect(await seal()).toHaveLength(1)
    expect(await seal()).toEqual([])
  })

  it('takes a batch that commits late, with an older id, into the next block', async () => {
    const late = await pool.connect()
    try {
      await late.query('begin')
      await writeEntries(late, [entry('late')])
      await write('prompt')
      expect((await seal()).map((block) => block.batches)).toEqual([1])
      expect(await blockOf('prompt')).toBe(1)
      await late.query('commit')
    } finally {
      late.release()
    }
    expect((await seal()).map((block) => block.batches)).toEqual([1])
    expect(await blockOf('late')).toBe(2)
    await expectVerified(2)
  })

  it('does not seal what was rolled back', async () => {
    await expect(
      transaction(pool, async (client) => {
        await writeEntries(client, [entry('gone')])
        throw new Error('the change failed')
      }),
    ).rejects.toThrow('the change failed')
    expect(await seal()).toEqual([])
    expect((await pool.query('select from ledger')).rowCount).toBe(0)
  })

  it('seals each batch once, although many seal and write at once', async () => {
    await Promise.all(
      Array.from({ length: 8 }, async (_, writer) => {
        for (let i = 0; i < 20; i++) {
          await write(`${writer}.${i}`)
          if (i % 3 === 0) await seal()
        }
      }),
    )
    await seal()
    const { rows } = await pool.query<{ blocks: string; batches: string }>(
      'select count(*) as blocks, sum(batches) as batches from ledger_blocks',
    )
    expect(rows[0]!.batches).toBe('160')
    await expectVerified(Number(rows[0]!.blocks))
  })

  it('leaves the work to the node that is at it', async () => {
    await write('a')
    const other = await pool.connect()
    try {
      await other.query('begin')
      await other.query('select pg_advisory_xact_lock(7234002)')
      expect(await seal()).toEqual([])
      await other.query('rollback')
    } finally {
      other.release()
    }
    expect(await seal()).toHaveLength(1)
  })

  it('never goes back in time, although the clock does', async () => {
    await write('a')
    const [first] = await seal()
    clock.set(clock.now() - 60 * SECOND)
    await write('b')
    expect((await seal())[0]!.at).toBe(first!.at)
  })
})

describe('the signing key', () => {
  it('is the same for all nodes, although they make it at once', async () => {
    await pool.query('truncate installation')
    const keys = await Promise.all(Array.from({ length: 10 }, () => openLedgerKey(pool, PLAIN, systemRandom)))
    expect(new Set(keys.map((made) => made.id)).size).toBe(1)
  })

  it('is kept sealed', async () => {
    await pool.query('truncate installation')
    const seen: Buffer[] = []
    const keep = {
      seal: (plain: Buffer) => {
        seen.push(Buffer.from(plain))
        return Buffer.from(plain.map((byte) => byte ^ 0xff))
      },
      open: (sealed: Buffer) => Buffer.from(sealed.map((byte) => byte ^ 0xff)),
    }
    await openLedgerKey(pool, keep, systemRandom)
    const { rows } = await pool.query<{ value: Buffer }>('select value from installation')
    expect(rows).toHaveLength(2)
    expect(rows.some((row) => row.value.includes(seen[0]!))).toBe(false)
  })

  it('is refused where it does not open, or is not the one of the public key', async () => {
    const unreadable = expect.objectContaining({ code: 'ledger_key_unreadable' })
    const broken = {
      ...PLAIN,
      open: () => {
        throw new Error('wrong master key')
      },
    }
    await expect(openLedgerKey(pool, broken, systemRandom)).rejects.toThrow(unreadable)
    const another = { ...PLAIN, open: () => Buffer.alloc(32, 1) }
    await expect(openLedgerKey(pool, another, systemRandom)).rejects.toThrow(unreadable)
  })
})

describe('the sealer', () => {
  let published: Checkpoint[]
  let errors: unknown[]

  function sealer(options: Partial<SealerOptions> = {}): LedgerSealer {
    published = []
    errors = []
    return new LedgerSealer({
      pool,
      key,
      clock,
      publish: (checkpoint) => void published.push(checkpoint),
      onError: (error) => errors.push(error),
      ...options,
    })
  }

  it('publishes each new block, and the newest again before a minute is over', async () => {
    const one = sealer()
    await one.sealNow()
    expect(published).toEqual([])
    await write('a')
    await one.sealNow()
    await one.sealNow()
    expect(published.map((checkpoint) => checkpoint.number)).toEqual([1])
    await clock.advance(50 * SECOND)
    await one.sealNow()
    expect(published.map((checkpoint) => checkpoint.number)).toEqual([1, 1])
    await write('b')
    await one.sealNow()
    expect(published.map((checkpoint) => checkpoint.number)).toEqual([1, 1, 2])
    expect(errors).toEqual([])
  })

  it('takes its turns every 25 seconds until it is stopped, and seals at its stop', async () => {
    const one = sealer()
    one.start()
    one.start()
    expect(clock.pending()).toBe(1)
    await clock.advance(0)
    await one.sealNow()
    await expect.poll(() => clock.pending()).toBe(1)
    await write('a')
    await clock.advance(25 * SECOND)
    await expect.poll(() => published).toHaveLength(1)
    await expect.poll(() => clock.pending()).toBe(1)
    await write('b')
    await Promise.all([one.stop(), one.stop()])
    expect(published.map((checkpoint) => checkpoint.number)).toEqual([1, 2])
    expect(clock.pending()).toBe(0)
  })

  it('publishes again what could not be published', async () => {
    let full = true
    const one = sealer({
      publish: (checkpoint) => {
        if (full) throw new Error('disk full')
        published.push(checkpoint)
      },
    })
    await write('a')
    await one.sealNow()
    expect(errors).toEqual([expect.objectContaining({ message: 'disk full' })])
    full = false
    await one.sealNow()
    expect(published).toHaveLength(1)
  })

  it('notices that the database was rolled back, while running and at its start', async () => {
    const one = sealer()
    await write('a')
    await one.sealNow()
    await pool.query('truncate ledger, ledger_batches, ledger_blocks')
    await write('b')
    clock.set(clock.now() + 1)
    await one.sealNow()
    const rolledBack = expect.objectContaining({ code: 'ledger_rolled_back' })
    expect(errors).toEqual([rolledBack])
    // It says so once, and goes on from what there is.
    await one.sealNow()
    expect(errors).toHaveLength(1)

    const known = published[0]!
    const two = sealer({ known })
    await two.sealNow()
    expect(errors).toEqual([rolledBack])

    const three = sealer({ known: published[0]! })
    await three.sealNow()
    expect(errors).toEqual([])
  })

  it('is published by every node, whichever of them seals', async () => {
    const first: Checkpoint[] = []
    const one = sealer({ publish: (checkpoint) => void first.push(checkpoint) })
    const two = sealer()
    await write('a')
    await Promise.all([one.sealNow(), two.sealNow()])
    await Promise.all([one.sealNow(), two.sealNow()])
    expect(first.map((checkpoint) => checkpoint.number)).toEqual([1])
    expect(published).toEqual(first)
  })
})
