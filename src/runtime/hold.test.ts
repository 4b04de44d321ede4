import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../tests/support/database.ts'
import { turn, type Clock } from '../base/index.ts'
import { openDatabase, transaction, type Database } from '../db/index.ts'
import { writeEntries, type Checkpoint } from '../ledger/index.ts'
import { beginHold } from '../operator/index.ts'
import { appendCheckpoint, blocksAfter, newestCheckpoint, putAsideCheckpoints } from './checkpoints.ts'
import { deferredByHold, holdWords, refuseInHold, startHoldWatch } from './hold.ts'

let test: TestDatabase
let database: Database
beforeAll(async () => {
  test = await createTestDatabase()
  database = openDatabase({ url: test.url, max: 3 })
})
afterAll(async () => {
  await database.close()
  await test.drop()
})

/** A clock that wakes whoever waits when it is told to. */
function handClock(): Clock & { pass(): Promise<void>; readonly waiting: () => number } {
  let due: (() => void)[] = []
  return {
    now: () => 0,
    monotonic: () => 0,
    after(_ms, wake) {
      due.push(wake)
      return () => {
        due = due.filter((other) => other !== wake)
      }
    },
    async pass() {
      const now = due
      due = []
      for (const wake of now) wake()
      while (due.length === 0) await turn()
    },
    waiting: () => due.length,
  }
}

const begin = (): Promise<string> =>
  transaction(database.pool, (client) =>
    beginHold(
      client,
      { kind: 'operator', reason: 'A look.', actor: 'operator:test', now: Date.UTC(2026, 10, 22) },
      writeEntries,
    ),
  )

describe('the watch of a node', () => {
  it('knows a hold that was open before it, hears of its end and of the next, and goes on through a fault', async () => {
    await begin()
    const clock = handClock()
    const told: (string | undefined)[] = []
    const faults: unknown[] = []
    let broken = false
    const watch = await startHoldWatch({
      client: {
        query: (statement, values) =>
          broken ? Promise.reject(new Error('away')) : database.pool.query(statement, values),
      },
      clock,
      onFault: (error) => faults.push(error),
      onChange: (open) => told.push(open?.kind),
    })
    expect(watch.inHold()).toBe(true)
    expect(holdWords(watch.open()!)).toMatch(/In hold since 2026-11-22.*A look\..*trestle hold release/)
    await expect(refuseInHold(database.pool)).rejects.toMatchObject({ code: 'state_conflict' })
    await database.pool.query('update holds set released_at = now()')
    await clock.pass()
    expect([watch.inHold(), told]).toEqual([false, [undefined]])
    await expect(refuseInHold(database.pool)).resolves.toBeUndefined()
    broken = true
    await clock.pass()
    expect([watch.inHold(), faults.length]).toEqual([false, 1])
    broken = false
    await begin()
    await clock.pass()
    expect([watch.inHold(), told]).toEqual([true, [undefined, 'operator']])
    watch.stop()
    expect(clock.waiting()).toBe(0)
    expect(deferredByHold(5)).toMatchObject({ as: 'deferred', code: 'in_hold', until: 1005 })
  })
})

describe('checkpoints of a life that a database knows nothing of', () => {
  it('are counted, and put aside; those before stay', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'trestle-checkpoints-'))
    const checkpoint = (number: number, entries: number): Checkpoint =>
      ({ number, at: number * 1000, batches: 1, entries }) as Checkpoint
    try {
      expect(await blocksAfter(folder, 3)).toEqual({ blocks: 0, entries: 0, newest: undefined })
      expect(await putAsideCheckpoints(folder, 3, 0)).toBeUndefined()
      // The newest block is published again and again; and not every block is.
      for (const [number, entries] of [
        [2, 5],
        [3, 7],
        [5, 20],
        [6, 1],
        [6, 1],
      ] as const)
        await appendCheckpoint(folder, checkpoint(number, entries))
      expect(await blocksAfter(folder, 3)).toMatchObject({ blocks: 3, entries: 21, newest: { number: 6 } })
      const aside = await putAsideCheckpoints(folder, 3, Date.UTC(2026, 10, 22))
      expect(aside).toMatch(/checkpoints\.before-2026-11-22T00-00-00-000Z\.jsonl$/)
      expect((await newestCheckpoint(folder))?.number).toBe(3)
      expect(await readdir(join(folder, '.trestle'))).toHaveLength(2)
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  })
})
